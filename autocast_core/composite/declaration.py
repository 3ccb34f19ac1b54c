"""What a composite model is: stages that feed each other, each of them one ONNX model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

DATA = "data"
"""What origins call the evaluation data; no stage may be called so."""
TOKENS = "tokens"
"""The output of a stage that generates: the tokens that it chose."""


@dataclass(frozen=True)
class Origin:
    """Where a tensor comes from: an array of the data (`stage` is DATA), or an output of a stage."""

    stage: str
    name: str

    def __str__(self) -> str:
        return f"{self.stage}.{self.name}"


@dataclass(frozen=True)
class GreedyDecoding:
    """How a stage is run again and again, each time with the token that it chose before, that of the largest logit.

    - `tokens`: the input that takes tokens, integers of shape [batch, sequence]; `logits`: the output that scores the
      next one, [batch, sequence, vocabulary].
    - Generation ends after `max_new_tokens`, or once every row has chosen one of `end_tokens`.
    - `cache`: by pattern of input the pattern of the output that it takes from the run before, with at most one ``*``
      in each. Without one, all tokens are fed in every run.
    - `attention_mask`: the input that grows by a one for each token. `position_ids`: the input that takes the position
      of each fed token. `use_cache`: the boolean input that is false in the first run only.
    - `prefill`: the stage that reads the prompt, whose logits and cache generation begins with.
    """

    tokens: str
    max_new_tokens: int
    logits: str = "logits"
    end_tokens: tuple[int, ...] = ()
    cache: Mapping[str, str] = field(default_factory=dict)
    attention_mask: str | None = None
    position_ids: str | None = None
    use_cache: str | None = None
    prefill: str | None = None


@dataclass(frozen=True)
class ModelStage:
    """One model of a composite: its name, where the inputs come from that are named here, and how it generates.

    An input that is not named here takes the data's array of its name.
    """

    name: str
    inputs: Mapping[str, Origin] = field(default_factory=dict)
    generate: GreedyDecoding | None = None


@dataclass(frozen=True)
class CompositeModel:
    """Stages in the order in which they run, and the outputs that are judged (empty: all of the last stage).

    Errors call the declaration `where`, as the file that it was read from.
    """

    stages: tuple[ModelStage, ...]
    outputs: tuple[Origin, ...] = ()
    where: str = "composite model"
