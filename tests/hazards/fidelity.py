"""How well a model keeps what the FP32 model gives, for the oracle: without any code of the product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

TARGET = {"fp16": 40.0, "bf16": 22.0}
"""SQNR in dB of the worst batch that the default gates ask for."""
EQUAL_SHARE = 0.95
"""The share of equal integers that the default gates ask for."""
EXACT = 200.0
"""What stands for more dB than that."""
_BATCH = 4


@dataclass(frozen=True)
class Agreement:
    """SQNR in dB of the worst batch of the worst float output, at most 200; -inf where it has new NaN or infinity.
    The share of equal elements in the worst integer output. Each is its best where there is no such output."""

    db: float = EXACT
    equal: float = 1.0

    def good(self, precision: str) -> bool:
        """Whether the figures that the default gates ask for are reached."""
        return self.db >= TARGET[precision] and self.equal >= EQUAL_SHARE

    def costs_nothing(self, before: Agreement) -> bool:
        """Whether less than 0.5 dB and no integer are lost compared with `before`."""
        return self.db > before.db - 0.5 and self.equal >= before.equal


def agreement(expected: Sequence[np.ndarray], found: Sequence[np.ndarray], samples: int) -> Agreement:
    """The worst over outputs; batches of four where an output has one row for each of the `samples`."""
    worst = Agreement()
    for one, other in zip(expected, found, strict=True):
        if one.dtype.kind != "f":
            equal = float((one == other).mean()) if one.shape == other.shape else 0.0
            worst = Agreement(worst.db, min(worst.equal, equal))
            continue
        starts = range(0, samples, _BATCH) if one.ndim and one.shape[0] == samples else (0,)
        length = _BATCH if len(starts) > 1 else samples
        rows = ((one[at : at + length], other[at : at + length]) for at in starts) if one.ndim else ((one, other),)
        worst = Agreement(min(worst.db, *(_sqnr(*each) for each in rows)), worst.equal)
    return worst


def _sqnr(expected: np.ndarray, found: np.ndarray) -> float:
    expected, found = expected.astype(np.float64), np.asarray(found).astype(np.float64)
    if expected.shape != found.shape:
        return -np.inf
    there = np.isfinite(expected)
    if not np.isfinite(found[there]).all():
        return -np.inf
    noise = float(((expected - found)[there] ** 2).sum())
    signal = float((expected[there] ** 2).sum())
    return min(EXACT, 10.0 * np.log10(signal / noise)) if noise and signal else EXACT if not noise else -np.inf
