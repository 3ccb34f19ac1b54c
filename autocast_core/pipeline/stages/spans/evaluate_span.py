"""Evaluate by parts: what the stage `evaluate` measures, for some of the batches at a time.

Whoever has several processes asks `evaluation_layout` once, `evaluate_span` for spans of it in any order and anywhere,
and `joined_spans` with what they measured in the order of the data. That gives the stage's figures, to the last bit.

Does not share out what needs all outputs in one place, or samples by their number: judges, labels, a metric of the
user's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from autocast_core.calibrate import BatchSpan, custom_nodes
from autocast_core.data import DataBatches, FileLayout
from autocast_core.evaluate import Evaluation
from autocast_core.pipeline.artifacts import SanitizedSource
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.stages.apply import apply
from autocast_core.pipeline.stages.evaluate import (
    CONVERTED_BACKENDS,
    Evaluated,
    MeasuredBatches,
    evaluation_data,
    judges_of,
    kind_of_data,
    measured,
)
from autocast_core.plan import PrecisionPlan

_FLOOR = "noise floor"


class _UnlabelledSpan(BatchSpan):
    """A span as the batches of an evaluation."""

    origin: Literal["calibration", "random"] = "calibration"
    labels = None

    @property
    def digest(self) -> str:
        return self.batches.digest


def evaluation_layout(job: Job) -> FileLayout | None:
    """How the job's evaluation data lies in files. None where the stage itself is to run: the data is not in files or
    has labels, there are judges or a metric of the user's own, or the model has custom operators.

    Raises as the stage does where the data does not fit.
    """
    original = job.reference()
    batches = evaluation_data(job, original)
    if not isinstance(batches, DataBatches) or job.metric is not None or judges_of(job, original):
        return None
    if batches.labels is not None or custom_nodes(original):
        return None
    found = batches.layout()
    return found if found.files else None


def evaluate_span(
    job: Job, sanitized: SanitizedSource, plan: PrecisionPlan, skipped: int, count: int
) -> MeasuredBatches:
    """What the model that `plan` makes of the sanitized one differs by, over the `count` batches behind the first
    `skipped` of the job's evaluation data. Raises as the stage does."""
    original = job.reference()
    span = _UnlabelledSpan(evaluation_data(job, original), skipped, skipped + count)
    return measured(job, original, apply(job, sanitized, plan).model, CONVERTED_BACKENDS, span)


def joined_spans(job: Job, spans: Iterable[MeasuredBatches], digest: str) -> Evaluated | None:
    """What the stage gives, from all spans in the order of the data, which `digest` identifies; the first is changed.
    None where not all of them were measured in the same ways."""
    remaining = iter(spans)
    first = next(remaining)
    totals, batches = _evaluations(first), first.batches
    for each in remaining:
        here, batches = _evaluations(each), batches + each.batches
        if here.keys() != totals.keys() or each.skipped != first.skipped:
            return None
        for name, total in totals.items():
            total.sums.merge(here[name].sums)
    whole = {name: replace(each, fidelity=each.sums.result(each.fidelity.backend)) for name, each in totals.items()}
    floor = whole.pop(_FLOOR, None)
    return replace(first, batches=batches, found=whole, noise_floor=floor).evaluated(kind_of_data(job), digest)


def _evaluations(span: MeasuredBatches) -> dict[str, Evaluation]:
    floor = {} if span.noise_floor is None else {_FLOOR: span.noise_floor}
    return {**span.found, **floor}
