"""The sessions of one evaluation: one after the other, or in segments side by side, so that weights are read once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import onnx_ir as ir

from autocast_core.backends.segments import Lockstep
from autocast_core.data import Batches
from autocast_core.evaluate.recording import FEW_BATCHES
from autocast_core.pipeline.artifacts import Converted, SanitizedSource
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.stages.probed import MOST_BATCHES, attributed, evaluation_batches, lowered, probing
from autocast_core.runtime import Session
from autocast_core.search.attribution import Attribution


class EvaluationSessions:
    """Sessions over `batches`; `lockstep` is the context that they are opened in, `runtime` what opens them."""

    def __init__(self, job: Job, batches: Batches, lockstep: Lockstep) -> None:
        self.runtime = job.runtime_in(lockstep)
        self._job, self._batches, self._lockstep = job, batches, lockstep

    def later(self, model: Callable[[], ir.Model], *, exact: bool) -> Callable[[], Session]:
        """Opens what `model` gives when it is called; where others run in segments before, it was opened with them."""
        few = len(self._batches) <= FEW_BATCHES
        return self._lockstep.later(
            lambda: self.runtime.open(model(), exact=exact, few_runs=few, batches=self._batches)
        )

    def attributing(self, sanitized: SanitizedSource, converted: Converted) -> Callable[[], Attribution | None]:
        """Gives which nodes the error of `converted` comes from where that was found on the way: in segments, on few
        batches."""
        in_place = sanitized.model is converted.model
        if in_place or len(self._batches) > MOST_BATCHES or not lowered(converted.plan):
            return lambda: None
        job = self._job
        made = cache(lambda: probing(job, sanitized, converted.plan, evaluation_batches(job, sanitized)))
        opened = self._lockstep.later(lambda: made().open(self.runtime))
        return lambda: attributed(job, made, lambda _: opened()) if opened.is_open else None
