"""Greedy decoding: a model run again and again on the tokens that it chooses, with a cache where it has one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from autocast_core.composite.declaration import DATA, TOKENS, GreedyDecoding
from autocast_core.composite.wiring import WiredStage
from autocast_core.errors import DataError
from autocast_core.runtime import Session


@dataclass(frozen=True)
class Generated:
    """What a stage generated.

    `tokens`, int64 [batch, max_new_tokens]: what is behind a row's end repeats its end token. `lengths`, int64 [batch]:
    tokens of each row with its end token. `logits`, float [sum of lengths, vocabulary]: what each of them was chosen
    from, row by row of the batch.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    logits: np.ndarray

    def values(self, logits: str) -> dict[str, np.ndarray]:
        """The stage's outputs by name."""
        return {TOKENS: self.tokens, logits: self.logits}

    @property
    def choices(self) -> np.ndarray:
        """What the logits choose, of equal ones the first; int64 [sum of lengths]."""
        return np.asarray(self.logits.argmax(axis=-1)) if len(self.logits) else np.zeros(0, np.int64)

    @property
    def chosen(self) -> np.ndarray:
        """The tokens up to each row's end, row by row; int64 [sum of lengths]."""
        return self.tokens[np.arange(self.tokens.shape[1]) < self.lengths[:, None]]


def generate(
    wired: WiredStage,
    session: Session,
    fed: Mapping[str, np.ndarray],
    prefilled: Mapping[str, np.ndarray] | None,
    forced: Generated | None = None,
) -> Generated:
    """What the stage generates. `fed` are the inputs that come from outside, `prefilled` the outputs of the stage that
    read the prompt.

    With `forced`, what it is fed are those tokens, whatever it chooses (teacher forcing), so that its logits can be
    compared one by one with those that chose them. DataError where a prompt is padded on the right.
    """
    decoding = wired.stage.generate
    assert decoding is not None, "only stages that generate are asked to"
    steps = _Steps(wired, decoding, session, fed, prefilled)
    logits = steps.first()
    batch = len(logits)
    ended, lengths = np.zeros(batch, bool), np.zeros(batch, np.int64)
    chosen: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    while True:
        step = len(chosen)
        tokens = np.asarray(logits.argmax(axis=-1)) if forced is None else forced.tokens[:, step]
        tokens = np.where(ended, chosen[-1] if chosen else 0, tokens)
        chosen.append(tokens)
        scores.append(logits)
        lengths += ~ended
        ended = ended | np.isin(tokens, decoding.end_tokens) if forced is None else forced.lengths <= step + 1
        if len(chosen) == decoding.max_new_tokens or ended.all():
            break
        logits = steps.next(tokens)
    chosen += [chosen[-1]] * (decoding.max_new_tokens - len(chosen))
    rows = [scores[step][row] for row in range(batch) for step in range(lengths[row])]
    return Generated(np.stack(chosen, axis=1).astype(np.int64), lengths, np.stack(rows) if rows else logits[:0])


class _Steps:
    """What the model is fed from run to run."""

    def __init__(
        self,
        wired: WiredStage,
        decoding: GreedyDecoding,
        session: Session,
        fed: Mapping[str, np.ndarray],
        prefilled: Mapping[str, np.ndarray] | None,
    ) -> None:
        self._wired, self._decoding, self._session, self._prefilled = wired, decoding, session, prefilled
        self._feeds: dict[str, np.ndarray] = dict(fed)
        self._length = 0  # positions, where no mask tells them

    def first(self) -> np.ndarray:
        """The logits that choose the first token: of the prompt, [batch, vocabulary]."""
        decoding, prompt = self._decoding, self._prefilled
        mask = decoding.attention_mask
        if mask is not None and not np.asarray(self._feeds[mask])[:, -1].all():
            raise DataError(
                f"stage {self._wired.name!r}: {mask!r} of the data ends with 0: pad prompts on the left, so that the"
                " next token stands behind the last one"
            )
        if prompt is not None:
            for name, output in self._wired.cache.items():
                if name not in self._feeds:
                    self._feeds[name] = prompt[output]
            logits = prompt[decoding.logits]
            self._length = logits.shape[1]
            return np.asarray(logits[:, -1])
        tokens = self._feeds[decoding.tokens]
        for name in self._wired.cache:
            if name not in self._feeds:
                self._feeds[name] = self._empty(name, len(tokens))
        return self._run(tokens, first=True)

    def next(self, chosen: np.ndarray) -> np.ndarray:
        """The logits behind one more token of each row, int64 [batch]."""
        decoding = self._decoding
        column = chosen[:, None].astype(self._wired.specs[decoding.tokens].numpy)
        if decoding.attention_mask is not None:
            mask = self._feeds[decoding.attention_mask]
            self._feeds[decoding.attention_mask] = np.concatenate([mask, np.ones_like(mask[:, :1])], axis=1)
        if not self._wired.cache:
            column = np.concatenate([self._feeds[decoding.tokens], column], axis=1)
        return self._run(column, first=False)

    def _run(self, tokens: np.ndarray, *, first: bool) -> np.ndarray:
        """The last position's logits, and the cache for the next run."""
        decoding, feeds = self._decoding, self._feeds
        feeds[decoding.tokens] = tokens
        self._length = self._length + tokens.shape[1] if self._wired.cache else tokens.shape[1]
        if decoding.position_ids is not None and not (first and decoding.position_ids in self._wired.inputs):
            feeds[decoding.position_ids] = self._positions(*tokens.shape)
        if decoding.use_cache is not None:
            dims = self._wired.specs[decoding.use_cache].dims
            feeds[decoding.use_cache] = np.full([1] * len(dims or ()), not first)
        outputs = dict(zip(self._session.output_names, self._session.run(feeds), strict=True))
        for name, output in self._wired.cache.items():
            # Merged decoders give nothing for the encoder's part once they have it.
            if output in outputs and (outputs[output].size or not feeds[name].size):
                feeds[name] = outputs[output]
        return np.asarray(outputs[decoding.logits][:, -1])

    def _positions(self, batch: int, columns: int) -> np.ndarray:
        """The positions of the last columns, [batch, columns]; padding on the left does not count."""
        decoding = self._decoding
        assert decoding.position_ids is not None
        if decoding.attention_mask is None:
            positions = np.broadcast_to(np.arange(self._length - columns, self._length), (batch, columns))
        else:
            mask = self._feeds[decoding.attention_mask]
            positions = np.maximum(np.cumsum(mask, axis=1) - 1, 0)[:, -columns:]
        return np.ascontiguousarray(positions.astype(self._wired.specs[decoding.position_ids].numpy))

    def _empty(self, name: str, batch: int) -> np.ndarray:
        """The cache before the first token: no column. DataError where the input has a fixed size."""
        spec = self._wired.specs[name]
        dims = spec.dims or ()
        shape = [batch if not axis else dim if isinstance(dim, int) else 0 for axis, dim in enumerate(dims)]
        if 0 not in shape[1:]:
            raise DataError(
                f"stage {self._wired.name!r}: the cache {spec} has no dynamic length to begin with none: give its"
                f" start in `inputs`, as {name}: {DATA}.{name}"
            )
        return np.zeros(shape, spec.numpy)
