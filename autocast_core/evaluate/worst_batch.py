"""The worst batch of each output: what totals over all batches hide.

A batch's relative error is that of its own signal, but of no less than a tenth of the output's root mean square over
all batches: where a batch happens to give almost nothing, its rounding errors are no larger than those of the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autocast_core.evaluate.classification import CLASS_METRICS
from autocast_core.evaluate.errors import OutputFidelity, sqnr_db
from autocast_core.evaluate.sums.percentiles import PERCENTILES

SMALLEST_SIGNAL = 0.1
"""Root mean square of a batch, relative to that of all batches, below which it is judged as if it had so much."""
HIGHER_IS_BETTER = frozenset({"cosine", "sqnr_db", "equal_share", "top1_agreement", "top5_agreement"})
_ABSOLUTE = ("max_abs", "mean_abs", *PERCENTILES)
_ERRORS = ("rel_l2", "sqnr_db", *_ABSOLUTE, "cosine", "new_nonfinite", "nonfinite")
FEWEST_ELEMENTS = 32
"""In a smaller batch of an output that is not floats a few near ties would decide: it is judged by the total only."""
BATCH_METRICS = (*_ERRORS, "equal_share", *CLASS_METRICS)
"""The metrics that exist of the worst batch: `cosine` over batches with at least SMALLEST_SIGNAL, as an angle cannot be
related to another signal; `equal_share` for outputs that are not floats, over batches of at least FEWEST_ELEMENTS;
CLASS_METRICS for outputs with class scores."""


@dataclass(frozen=True)
class BatchFigure:
    """A metric's value, and the output and the batch (counted from 0) that it belongs to."""

    value: float
    output: str
    batch: int


def worst_batches(
    outputs: Sequence[OutputFidelity], by_batch: Sequence[Sequence[OutputFidelity]]
) -> dict[str, dict[str, BatchFigure]]:
    """By output name and metric the worst batch's figure. `outputs` are over all batches, `by_batch` of each, in the
    same order. A batch of which nothing could be compared has no figure but counts."""
    found: dict[str, dict[str, BatchFigure]] = {}
    for index, total in enumerate(outputs):
        figures = found[total.name] = {}
        for number, batch in enumerate(by_batch):
            for metric, value in _values(batch[index], total).items():
                keep_worse(figures, metric, BatchFigure(value, total.name, number))
    return found


def keep_worse(figures: dict[str, BatchFigure], metric: str, figure: BatchFigure) -> None:
    """Put `figure` under `metric` where it is worse than what `figures` has there. NaN is worse than nothing only."""
    known = figures.get(metric)
    if known is None or is_worse(metric, figure.value, known.value):
        figures[metric] = figure


def is_worse(metric: str, value: float, known: float) -> bool:
    """Whether `value` is worse than `known`, as the metric goes; a number is worse than NaN."""
    if math.isnan(known):
        return not math.isnan(value)
    return value < known if metric in HIGHER_IS_BETTER else value > known


def _values(batch: OutputFidelity, total: OutputFidelity) -> Mapping[str, float]:
    counts = {"new_nonfinite": float(batch.new_nonfinite), "nonfinite": float(batch.nonfinite)}
    if math.isnan(batch.rel_l2):
        return counts
    error = _relative(batch, total)
    values = {"rel_l2": error, "sqnr_db": sqnr_db(error), **counts}
    values |= {metric: float(getattr(batch, metric)) for metric in _ABSOLUTE}
    if batch.reference_rms >= SMALLEST_SIGNAL * total.reference_rms:
        values["cosine"] = batch.cosine
    if not batch.is_float and batch.elements >= FEWEST_ELEMENTS:
        values["equal_share"] = batch.equal_share
    if batch.classes is not None:
        known = {metric: getattr(batch.classes, metric) for metric in CLASS_METRICS}
        values |= {metric: float(value) for metric, value in known.items() if value is not None}
    return values


def _relative(batch: OutputFidelity, total: OutputFidelity) -> float:
    signal = max(batch.reference_rms, SMALLEST_SIGNAL * total.reference_rms)
    if batch.error_rms == 0.0:
        return 0.0
    return batch.error_rms / signal if signal and math.isfinite(batch.error_rms) else math.inf
