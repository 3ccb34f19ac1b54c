"""A composite model: stages that feed each other, read from a YAML file. Locations are relative to the file's folder.

evaluation: prompts.npz
stages:
  encoder: {model: encoder.onnx, candidate: encoder.fp16.onnx}
  decoder:
    model: decoder.onnx
    spec: {precision: fp16}                     # convert it here
    inputs: {encoder_states: encoder.last_hidden_state}
    generate: {tokens: input_ids, cache: {past_*: present_*}, max_new_tokens: 32, end_token: 2}
outputs: [decoder.tokens, decoder.logits]
gates: [decoder.tokens.equal_share>=0.99]
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from autocast_core.composite import CompositeModel, GreedyDecoding, ModelStage, Origin
from autocast_core.composite.declaration import DATA
from autocast_core.errors import ConfigError
from autocast_core.evaluate import asked_judges, parse_gate
from flows.request.spec import LOCATIONS, Spec, Texts, load_spec, make_spec
from flows.request.yaml_file import KeyPath, read_yaml, said_plainly

MOST_STAGES = 100
_OF_WHOLE_CONVERSIONS = (*LOCATIONS, "output", "name", "gates", "keep_default_gates", "judges", "metric", "validation")
"""Options of a spec that say nothing of one stage of several."""


def _list(value: Any) -> Any:
    return (value,) if isinstance(value, int) else value


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GenerateKeys(_Part):
    """The keys of `generate`, see GreedyDecoding."""

    tokens: str
    max_new_tokens: int = Field(ge=1, le=100_000)
    logits: str = "logits"
    end_token: Annotated[tuple[int, ...], BeforeValidator(_list)] = ()
    cache: dict[str, str] = {}
    attention_mask: str | None = None
    position_ids: str | None = None
    use_cache: str | None = None
    prefill: str | None = None


class StageKeys(_Part):
    """The keys of one stage."""

    model: str = Field(min_length=1)
    candidate: str | None = Field(None, min_length=1)
    spec: str | dict[str, Any] | None = None
    inputs: dict[str, str] = {}
    generate: GenerateKeys | None = None


class FileKeys(_Part):
    """The keys of the file."""

    stages: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")], StageKeys] = Field(
        min_length=1, max_length=MOST_STAGES
    )
    evaluation: str | None = None
    batch_size: int = Field(1, ge=1)
    outputs: Texts = ()
    judges: Texts = ()
    gates: Texts = ()


@dataclass(frozen=True)
class StageLocations:
    """Where a stage's models are: a path or URI each. `spec`: how the stage is to be converted."""

    model: str
    candidate: str | None = None
    spec: Spec | None = None


@dataclass(frozen=True)
class CompositeFile:
    """What a file says: the declaration, where each stage's models are, the data and the gates."""

    composite: CompositeModel
    stages: Mapping[str, StageLocations]
    evaluation: str | None
    batch_size: int
    gates: tuple[str, ...]
    judges: tuple[str, ...] = ()


def read_composite(path: str | Path) -> CompositeFile:
    """The composite model in the file at `path`. ConfigError names the file, the line, the stage and the key."""
    values, lines = read_yaml(path)
    try:
        keys = FileKeys.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_first_problem(error, lines)}") from error
    folder = Path(path).parent
    stages = tuple(_stage(name, each, f"{path}: stages.{name}") for name, each in keys.stages.items())
    outputs = tuple(_origin(text, f"{path}: outputs") for text in keys.outputs)
    if DATA in keys.stages:
        raise ConfigError(f"{path}: stages.{DATA}: is what inputs call the evaluation data: name the stage otherwise")
    for gate in keys.gates:
        try:
            parse_gate(gate)
        except ConfigError as error:
            raise ConfigError(f"{path}: gates: {error}") from error
    try:
        asked_judges(keys.judges)
    except ConfigError as error:
        raise ConfigError(f"{path}: judges: {error}") from error
    return CompositeFile(
        CompositeModel(stages, outputs, str(path)),
        {name: _locations(name, each, path, lines) for name, each in keys.stages.items()},
        None if keys.evaluation is None else beside(keys.evaluation, folder),
        keys.batch_size,
        keys.gates,
        keys.judges,
    )


def beside(location: str, folder: Path) -> str:
    """`location` as seen from `folder`, unless it is a URI or an absolute path."""
    return location if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:/|[/~]", location) else str(folder / location)


def _stage(name: str, keys: StageKeys, where: str) -> ModelStage:
    inputs = {key: _origin(text, f"{where}.inputs.{key}") for key, text in keys.inputs.items()}
    if keys.generate is None:
        return ModelStage(name, inputs)
    for pattern, source in keys.generate.cache.items():
        if pattern.count("*") > 1 or source.count("*") != pattern.count("*"):
            raise ConfigError(f"{where}.generate.cache: {pattern}: {source}: give both one `*`, or none")
    values = keys.generate.model_dump(exclude={"end_token"})
    return ModelStage(name, inputs, GreedyDecoding(**values, end_tokens=keys.generate.end_token))


def _origin(text: str, where: str) -> Origin:
    stage, dot, name = text.partition(".")
    if not (stage and dot and name):
        raise ConfigError(f"{where}: {text!r}: give STAGE.OUTPUT or {DATA}.ARRAY")
    return Origin(stage, name)


def _locations(name: str, keys: StageKeys, path: str | Path, lines: Mapping[KeyPath, int]) -> StageLocations:
    folder, where = Path(path).parent, f"stages.{name}"
    if keys.candidate is not None and keys.spec is not None:
        raise ConfigError(f"{path}: {where}: give a `candidate`, or a `spec` to make one with")
    spec: Spec | None = None
    if isinstance(keys.spec, str):
        spec = load_spec(beside(keys.spec, folder), {})
    elif keys.spec is not None:
        start = ("stages", name, "spec")
        below = {key[3:]: line for key, line in lines.items() if key[:3] == start and key != start}
        spec = make_spec(keys.spec, f"{path}: {where}.spec", below)
    given = () if spec is None else (each for each in _OF_WHOLE_CONVERSIONS if each in spec.model_fields_set)
    for option in given:
        raise ConfigError(
            f"{path}: {where}.spec.{option}: is of a whole conversion: stages are calibrated on what they are fed here"
            " and judged together; omit it"
        )
    candidate = None if keys.candidate is None else beside(keys.candidate, folder)
    return StageLocations(beside(keys.model, folder), candidate, spec)


def _first_problem(error: ValidationError, lines: Mapping[KeyPath, int]) -> str:
    """The first wrong key: its line, its path and what is allowed."""
    problem = error.errors(include_url=False)[0]
    location = tuple(part for part in problem["loc"] if part not in ("str", "dict[str,any]", "[key]"))
    line = next((lines[location[:end]] for end in range(len(location), 0, -1) if location[:end] in lines), None)
    at, key = f"line {line}: " if line else "", ".".join(map(str, location))
    if problem["type"] == "extra_forbidden":
        models: Mapping[int, type[BaseModel]] = {1: FileKeys, 3: StageKeys, 4: GenerateKeys}
        allowed = sorted(models[len(location)].model_fields)
        near = difflib.get_close_matches(str(location[-1]), allowed, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return f"{at}there is no key {key!r}; {hint}allowed are {', '.join(allowed)}"
    if problem["type"] == "missing":
        return f"{at}{key}: is missing"
    return f"{at}{key}: {said_plainly(problem['msg'])}"
