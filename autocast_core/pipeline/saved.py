"""Artifacts between processes: small values that name files below a folder, and how they are saved and loaded.

`perform` is one stage on saved artifacts. It is what a task runs, wherever that is: what it makes is on disk before it
returns, and the next stage finds it in the cache if it runs in the same process.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from autocast_core.calibrate import Statistics
from autocast_core.config import ConversionConfig
from autocast_core.evaluate import AskedGates
from autocast_core.model import ModelRef, save_model, save_skeleton
from autocast_core.model.atomic import write_whole
from autocast_core.pipeline.artifacts import Converted, LoadedSource, SanitizedSource
from autocast_core.pipeline.job import Job, open_rounding
from autocast_core.pipeline.repaired import repaired_interface
from autocast_core.pipeline.stage import Stage, run_stage
from autocast_core.pipeline.stages.apply import APPLY
from autocast_core.pipeline.stages.calibrate import CALIBRATE
from autocast_core.pipeline.stages.evaluate import EVALUATE, Evaluated
from autocast_core.pipeline.stages.explain import EXPLAIN
from autocast_core.pipeline.stages.load import load
from autocast_core.pipeline.stages.plans.correct_biases import CORRECT_BIASES
from autocast_core.pipeline.stages.plans.decide import DECIDE
from autocast_core.pipeline.stages.plans.fit import FIT
from autocast_core.pipeline.stages.plans.free import FREE_STAGE
from autocast_core.pipeline.stages.plans.repair import REPAIR
from autocast_core.pipeline.stages.sanitize import SANITIZE
from autocast_core.pipeline.stages.verify import VERIFY
from autocast_core.plan import PlanCounts, PrecisionPlan
from autocast_core.progress import ProgressCallback, silent
from autocast_core.sanitize.change import Change
from autocast_core.search.attribution import Attribution
from autocast_core.search.search_space import soft_nodes
from autocast_core.verify import Verified, model_interface

A = TypeVar("A")


@dataclass(frozen=True)
class JobRequest:
    """A job as it travels: the source and the data by path, and the folder that receives what the stages make.

    `output` is the file name of the converted model; the other fields are as in Job.
    """

    source: ModelRef
    config: ConversionConfig
    folder: Path
    calibration: Path | None = None
    evaluation: Path | None = None
    metric: str | None = None
    gates: AskedGates | None = None
    allow_nonfinite: bool = True
    output: str = "model.onnx"

    def job(self, progress: ProgressCallback = silent) -> Job:
        """The job, with the cache of this context."""
        return Job(
            self.source,
            self.config,
            self.calibration,
            self.evaluation,
            self.metric,
            self.gates,
            self.allow_nonfinite,
            progress,
        )


@dataclass(frozen=True)
class SavedSanitized:
    """The sanitized model with its weights by reference, what was changed, and warnings."""

    model: ModelRef
    changes: tuple[Change, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class SavedStatistics:
    """Where the statistics lie (JSON), and on what they were measured; `skipped` says why there are none."""

    path: Path
    origin: str
    batches: int
    digest: str | None = None
    backend: str | None = None
    skipped: str | None = None


@dataclass(frozen=True)
class SavedPlan:
    """Where the plan lies (canonical JSON), its summary line, its counts of nodes, what it says of NaN in weights.

    `soft` nodes are kept by rules that a release may override; `measured` are the metrics of a measured decision,
    and `measured_summary` is its line.
    """

    path: Path
    summary: str
    total: int
    low_precision: int
    fp32: int
    warnings: tuple[str, ...] = ()
    nonfinite_weights: str | None = None
    soft: int = 0
    measured: Mapping[str, float] = field(default_factory=dict)
    measured_summary: str | None = None
    inside_kernels: int = 0

    @staticmethod
    def of(path: Path, plan: PrecisionPlan) -> SavedPlan:
        """The plan that lies at `path`."""
        counts, warnings = plan.counts(), tuple(plan.warnings)
        numbers = counts.total, counts.low_precision, counts.fp32
        return SavedPlan(
            path,
            plan.summary(),
            *numbers,
            warnings,
            plan.nonfinite_weights(),
            len(soft_nodes(plan)),
            plan.measured_metrics(),
            plan.measured_summary(),
            counts.inside_kernels,
        )

    @property
    def metrics(self) -> dict[str, float]:
        """The counts, and what a measured decision did, under their metric names."""
        counts = PlanCounts(self.total, self.low_precision, self.fp32, inside_kernels=self.inside_kernels)
        return {**counts.metrics(), **self.measured}


@dataclass(frozen=True)
class SavedModelFiles:
    """The written model (its digest is that of all its files), all its files, their bytes, and the plan as applied."""

    model: ModelRef
    files: tuple[Path, ...]
    bytes: int
    casts_inserted: int
    plan: Path


@dataclass(frozen=True)
class SavedVerification:
    """What loaded the verified model (None: nothing did), and the checks that were not made, with reasons."""

    loaded_by: str | None
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class SavedAttribution:
    """Where the attribution lies (JSON)."""

    path: Path


@dataclass(frozen=True)
class Destination:
    """Where an artifact is saved: `folder` is its stage's own, `model` the file of the converted model."""

    job: Job
    folder: Path
    model: Path


@dataclass(frozen=True)
class Form:
    """How one type of artifact travels: as a `saved` value, which `save` makes and `load` reads back."""

    saved: Any
    save: Callable[[Destination, Any], Any] | None = None
    load: Callable[[Job, Any], Any] | None = None


def perform(stage: str, request: JobRequest, inputs: tuple[Any, ...], progress: ProgressCallback = silent) -> Any:
    """Run the stage named `stage` on saved `inputs`; its artifact, saved below the request's folder.

    Raises as the stage does, OutputError where the folder cannot be written.
    """
    job, todo = request.job(progress), STAGES[stage]
    taken: tuple[Any, ...] = tuple(
        load_saved(job, kind, saved) for kind, saved in zip(todo.inputs, inputs, strict=True)
    )
    return save_made(stage, request, job, run_stage(todo, job, taken))


def save_made(stage: str, request: JobRequest, job: Job, made: Any) -> Any:
    """What the stage named `stage` made, saved below the request's folder. OutputError where that cannot be written."""
    folder = request.folder / stage
    folder.mkdir(parents=True, exist_ok=True)
    save = FORMS[STAGES[stage].output].save
    assert save is not None, f"{stage}: its artifact is not saved"
    return save(Destination(job, folder, request.folder / "output" / request.output), made)


def load_saved(job: Job, kind: type[A], saved: Any) -> A:
    """The artifact of type `kind` that was saved as `saved`."""
    load = FORMS[kind].load
    assert load is not None, f"no stage takes a {kind.__name__}"
    return cast(A, load(job, saved))


def _load_source(job: Job, ref: ModelRef) -> LoadedSource:
    return load(replace(job, source=ref))


def _save_sanitized(destination: Destination, made: SanitizedSource) -> SavedSanitized:
    ref = save_skeleton(made.model, destination.folder / "sanitized.onnx")
    destination.job.cache.keep_model(ref, made.model)
    return SavedSanitized(ref, made.changes, made.warnings)


def _load_sanitized(job: Job, saved: SavedSanitized) -> SanitizedSource:
    model = job.cache.model(saved.model)
    contract = repaired_interface(model_interface(job.original()), saved.changes)
    return SanitizedSource(model, contract, saved.changes, saved.warnings)


def _save_statistics(destination: Destination, made: Statistics) -> SavedStatistics:
    path, text = destination.folder / "statistics.json", made.to_json()
    write_whole(path, text.encode())
    destination.job.cache.keep_statistics(text, made)
    return SavedStatistics(path, made.origin, made.batches, made.digest, made.backend, made.skipped)


def _load_statistics(job: Job, saved: SavedStatistics) -> Statistics:
    return job.cache.statistics(saved.path)


def _save_plan(destination: Destination, made: PrecisionPlan) -> SavedPlan:
    path, text = destination.folder / "plan.json", made.to_json()
    write_whole(path, text.encode())
    destination.job.cache.keep_plan(text, made)
    return SavedPlan.of(path, made)


def _load_plan(job: Job, saved: SavedPlan) -> PrecisionPlan:
    return job.cache.plan(saved.path)


def _save_converted(destination: Destination, made: Converted) -> SavedModelFiles:
    """The model in memory is not kept: what is judged from here on is what the file holds."""
    destination.model.parent.mkdir(exist_ok=True)
    rounding = open_rounding(made.plan.precision)
    written = save_model(made.model, destination.model, progress=destination.job.progress, round_blocks=rounding)
    ref = ModelRef(written.path, written.sha256)
    return SavedModelFiles(
        ref, written.files, written.bytes, made.casts_inserted, _save_plan(destination, made.plan).path
    )


def _load_converted(job: Job, saved: SavedModelFiles) -> Converted:
    return Converted(job.cache.model(saved.model), job.cache.plan(saved.plan), saved.casts_inserted, saved.model)


def _save_verified(destination: Destination, made: Verified) -> SavedVerification:
    return SavedVerification(made.loaded_by, made.skipped)


def _save_evaluated(destination: Destination, made: Evaluated) -> Evaluated:
    return made


def _load_evaluated(job: Job, saved: Evaluated) -> Evaluated:
    return saved


def _save_attribution(destination: Destination, made: Attribution) -> SavedAttribution:
    path = destination.folder / "attribution.json"
    write_whole(path, json.dumps(made.to_json()).encode())
    return SavedAttribution(path)


FORMS: Mapping[type, Form] = {
    LoadedSource: Form(ModelRef, load=_load_source),
    SanitizedSource: Form(SavedSanitized, _save_sanitized, _load_sanitized),
    Statistics: Form(SavedStatistics, _save_statistics, _load_statistics),
    PrecisionPlan: Form(SavedPlan, _save_plan, _load_plan),
    Converted: Form(SavedModelFiles, _save_converted, _load_converted),
    Verified: Form(SavedVerification, _save_verified),
    Evaluated: Form(Evaluated, _save_evaluated, _load_evaluated),
    Attribution: Form(SavedAttribution, _save_attribution),
}
STAGES: Mapping[str, Stage] = {
    stage.name: stage
    for stage in (
        SANITIZE,
        CALIBRATE,
        DECIDE,
        FREE_STAGE,
        FIT,
        CORRECT_BIASES,
        APPLY,
        VERIFY,
        EVALUATE,
        REPAIR,
        EXPLAIN,
    )
}
