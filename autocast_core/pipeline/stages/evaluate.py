"""Evaluate: how far the converted model's outputs are from the source's."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import onnx_ir as ir

from autocast_core.backends.segments import Lockstep
from autocast_core.data import Batches
from autocast_core.errors import BackendError
from autocast_core.evaluate import (
    AskedJudge,
    Evaluation,
    Fidelity,
    Recording,
    TaskMetric,
    asked_judges,
    evaluate,
    load_metric,
    recorded,
    task_metric_values,
)
from autocast_core.evaluate.metric_names import (
    NOISE_FLOOR,
    ONNXRUNTIME,
    SIMULATION,
    bound_of,
    bound_prefix,
    of_worst_output,
)
from autocast_core.graph.walk import all_nodes
from autocast_core.number_formats import LOW_DTYPES
from autocast_core.pipeline.artifacts import Converted, SanitizedSource
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.planned_graph import planned_model
from autocast_core.pipeline.stage import Stage
from autocast_core.pipeline.stages.evaluation_sessions import EvaluationSessions
from autocast_core.runtime import Session
from autocast_core.sanitize.float_types.widen import computes_in
from autocast_core.search.attribution import Attribution
from autocast_core.search.costs.repair_prices import repair_prices
from autocast_core.simulate import ATTENTION, Accumulate, attention_products, modelled_types, simulate

CONVERTED_BACKENDS = (SIMULATION, ONNXRUNTIME)
"""What a converted model is measured in."""
_OF_NOISE = ("rel_l2", "max_abs", "sqnr_db")
_BF16 = frozenset({ir.DataType.BFLOAT16})


@dataclass(frozen=True)
class Evaluated:
    """Fidelities by the prefix of their metrics, task metrics where the data has labels or there are judges or a metric
    of the user's own, and on which data (``evaluation``, ``calibration``, ``random``).

    `noise_floor` is the fidelity of the source to itself under another graph optimisation level, on the runtime that
    measured the others; `skipped` says what was not measured and why.
    """

    data: str
    digest: str | None
    batches: int
    fidelity: Mapping[str, Fidelity] = field(default_factory=dict)
    task: Mapping[str, float] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    noise_floor: Fidelity | None = None
    judged_places: Mapping[str, str] = field(default_factory=dict)
    """By metric of a judge where its worst value was found."""
    attribution: str | None = None
    """Where the model ran in segments: which nodes the error comes from, found while its weights were read, as the JSON
    of an Attribution, since this travels between processes."""
    prices: Mapping[str, float] = field(default_factory=dict)
    """By metric what it would cost to compute in FP32 what a bound found to round inside."""

    @property
    def metrics(self) -> dict[str, float]:
        """Every number under its metric name."""
        found: dict[str, float] = {}
        for prefix, fidelity in self.fidelity.items():
            found |= fidelity.metrics(prefix)
        if self.noise_floor is not None:
            floor = self.noise_floor.worst
            found |= {of_worst_output(name, NOISE_FLOOR): getattr(floor, name) for name in _OF_NOISE}
        return {**found, **self.task, **self.prices}

    def table(self) -> dict[str, list[Any]]:
        """Each backend's figures of each batch and output, as columns of a table."""
        columns: dict[str, list[Any]] = {"backend": []}
        for prefix, fidelity in self.fidelity.items():
            for name, column in fidelity.table().items():
                columns.setdefault(name, []).extend(column)
            columns["backend"] += [prefix] * (len(columns["batch"]) - len(columns["backend"]))
        return columns

    @property
    def names(self) -> Mapping[str, str]:
        """The names of outputs in metrics."""
        return next((fidelity.names for fidelity in self.fidelity.values()), {})

    @property
    def places(self) -> Mapping[str, str]:
        """Where the worst of each metric ``fidelity/*`` and of each judge's was found."""
        found = self.fidelity[SIMULATION].places(SIMULATION) if SIMULATION in self.fidelity else {}
        return {**found, **self.judged_places}

    @property
    def nonfinite_results(self) -> str | None:
        """One line on the NaN and infinite values that the source itself gives; None where there are none."""
        return next((found for each in self.fidelity.values() if (found := each.nonfinite_results())), None)

    @property
    def backend(self) -> str:
        """What measured ``fidelity/*``; empty where nothing did."""
        return self.fidelity[SIMULATION].backend if SIMULATION in self.fidelity else ""


@dataclass(frozen=True)
class MeasuredBatches:
    """What was measured over so many batches: evaluations by the prefix of their metrics, the task's metrics, the
    source beside itself, what was not measured and why, and the attribution where it was made on the way."""

    batches: int
    found: Mapping[str, Evaluation]
    task: Mapping[str, float]
    noise_floor: Evaluation | None
    skipped: tuple[str, ...]
    attribution: Attribution | None = None

    def evaluated(self, data: str, digest: str | None) -> Evaluated:
        """This as the stage's artifact; `data` is what was measured on, `digest` identifies it."""
        first = next(iter(self.found.values()), None)
        return Evaluated(
            data,
            digest,
            self.batches,
            {prefix: each.fidelity for prefix, each in self.found.items()},
            self.task,
            self.skipped,
            None if self.noise_floor is None else self.noise_floor.fidelity,
            {name: place for each in (() if first is None else first.judged) for name, place in each.places().items()},
            None if self.attribution is None else json.dumps(self.attribution.to_json()),
        )


def evaluate_converted(job: Job, sanitized: SanitizedSource, converted: Converted) -> Evaluated:
    """The converted model beside the source, in simulation and, for FP16 models, as ONNX Runtime executes them. In
    segments the error is attributed to nodes on the way. With the option `accumulate` repairs are priced."""
    found = _evaluated(
        job,
        converted.model,
        CONVERTED_BACKENDS,
        lambda sessions: sessions.attributing(sanitized, converted),
    )
    return priced(job, sanitized, converted, found)


def priced(job: Job, sanitized: SanitizedSource, converted: Converted, found: Evaluated) -> Evaluated:
    """`found` of the converted model, with what it would cost to compute in FP32 what a bound found to round inside."""
    spared = _spared(converted.model, Accumulate(job.config.accumulate))
    if not spared:
        return found
    model = planned_model(sanitized.model, converted.plan)
    feeds = next(iter(job.batches(model, job.evaluation or job.calibration)), {})
    return replace(found, prices=repair_prices(model, converted.plan, feeds, spared))


def evaluate_candidate(job: Job, candidate: ir.Model, backends: tuple[str, ...]) -> Evaluated:
    """`candidate` beside the job's source on its evaluation data, else its calibration data, else seeded random data.

    The source runs once, and once more for the noise floor. With the option `accumulate` the simulation runs once more
    with 16-bit insides, and once for each operator type, and for attention, that can be spared. The job's `metric` is
    ``module:function``, see autocast_core.evaluate.TaskMetric; its ratio takes the place of top-1's. Its judges, and
    those that its gates name, judge what was measured first. DataError where the data does not fit or a judge cannot
    read the outputs; ConfigError where the metric or a judge cannot be used.
    """
    return _evaluated(job, candidate, backends, lambda _: lambda: None)


def _evaluated(
    job: Job,
    candidate: ir.Model,
    backends: tuple[str, ...],
    attributing: Callable[[EvaluationSessions], Callable[[], Attribution | None]],
) -> Evaluated:
    own = load_metric(job.metric) if job.metric is not None else None
    original = job.reference()
    batches = evaluation_data(job, original)
    found = measured(job, original, candidate, backends, batches, own, judges_of(job, original), attributing)
    return found.evaluated(kind_of_data(job), batches.digest)


def evaluation_data(job: Job, original: ir.Model) -> Batches:
    """The job's evaluation data, else its calibration data, else seeded random data."""
    return job.batches(original, job.evaluation or job.calibration)


def kind_of_data(job: Job) -> str:
    """What `evaluation_data` gives: ``evaluation``, ``calibration`` or ``random``."""
    return "evaluation" if job.evaluation else "calibration" if job.calibration else "random"


def judges_of(job: Job, original: ir.Model) -> tuple[AskedJudge, ...]:
    """The judges that the options and the gates name, and those that the outputs' names leave no doubt about."""
    named = job.gates.judges if job.gates is not None else ()
    return asked_judges(job.config.judges, named, (str(value.name) for value in original.graph.outputs))


def measured(
    job: Job,
    original: ir.Model,
    candidate: ir.Model,
    backends: tuple[str, ...],
    batches: Batches,
    own: TaskMetric | None = None,
    judges: Sequence[AskedJudge] = (),
    attributing: Callable[[EvaluationSessions], Callable[[], Attribution | None]] = lambda _: lambda: None,
) -> MeasuredBatches:
    """What `candidate` differs by from `original` over `batches`; see `evaluate_candidate`."""
    with Lockstep() as lockstep:
        sessions = EvaluationSessions(job, batches, lockstep)
        opened = {
            prefix: sessions.later(partial(_form, candidate, prefix), exact=prefix != ONNXRUNTIME)
            for prefix in (*backends, *_bounds(candidate, backends, Accumulate(job.config.accumulate)))
            if prefix != ONNXRUNTIME or not computes_in(candidate, _BF16)
        }
        again, attribution = sessions.later(lambda: original, exact=True), attributing(sessions)
        with recorded(original, batches, sessions.runtime, job.config.class_outputs) as recording:
            comparison = _Comparison(job, recording, batches, own)
            found, skipped = comparison.measure_all(opened, judges)
            if ONNXRUNTIME in backends and ONNXRUNTIME not in opened:
                skipped.append("ONNX Runtime: its CPU provider has no BF16 kernels")
            floor, refusals = comparison.measure_all({"noise floor": again})
            task = comparison.task_metrics(next(iter(found.values()), None))
        explained = attribution()
    return MeasuredBatches(
        len(batches), found, task, next(iter(floor.values()), None), (*skipped, *refusals), explained
    )


def _bounds(candidate: ir.Model, backends: tuple[str, ...], accumulate: Accumulate) -> list[str]:
    """The prefixes of the bound, and of the bound with each of what can be FP32 inside spared, where the simulation is
    among `backends` and a bound is asked for."""
    if SIMULATION not in backends or accumulate is Accumulate.FP32:
        return []
    return [bound_prefix(accumulate), *(bound_prefix(accumulate, each) for each in _spared(candidate, accumulate))]


def _spared(candidate: ir.Model, accumulate: Accumulate) -> list[str]:
    """The operator types whose 16-bit insides are modelled and can be FP32, and attention, where its products add up in
    FP16."""
    low = {node for node in all_nodes(candidate.graph) if any(value.dtype in LOW_DTYPES for value in node.outputs)}
    found = sorted(modelled_types(accumulate) & {node.op_type for node in low})
    products = attention_products(candidate.graph) if accumulate is Accumulate.FP16 else frozenset[ir.Node]()
    return [*found, ATTENTION] if any(node.outputs[0].dtype == ir.DataType.FLOAT16 for node in products) else found


def _form(candidate: ir.Model, prefix: str) -> ir.Model:
    """The model that is run for the fidelity called `prefix`."""
    if prefix == SIMULATION:
        return simulate(candidate)
    bound = bound_of(prefix)
    if bound is None:
        return candidate
    accumulate, spared = bound
    return simulate(candidate, Accumulate(accumulate), {spared})


@dataclass(frozen=True)
class _Comparison:
    """Compares models with the recorded outputs of the source."""

    job: Job
    recording: Recording
    batches: Batches
    metric: TaskMetric | None

    def measure_all(
        self, opened: Mapping[str, Callable[[], Session]], judges: Sequence[AskedJudge] = ()
    ) -> tuple[dict[str, Evaluation], list[str]]:
        """What was found in each session, by name, and of those that a runtime refused, why. `judges` judge the first.

        A source may be refused without the runtime's own graph optimisation.
        """
        found: dict[str, Evaluation] = {}
        refusals = []
        for name, opens in opened.items():
            try:
                with closing(opens()) as session:
                    found[name] = self._measure(session, () if found else judges)
            except BackendError as error:
                refusals.append(f"{name}: {error}")
        return found, refusals

    def _measure(self, session: Session, judges: Sequence[AskedJudge]) -> Evaluation:
        return evaluate(
            self.recording.replay(),
            session,
            self.batches,
            self.job.progress,
            self.metric,
            self.recording.class_outputs,
            judges,
        )

    def task_metrics(self, found: Evaluation | None) -> dict[str, float]:
        """The task metrics of what was measured first, beside the source's."""
        if found is None:
            return {}
        metrics = found.task_metrics()
        if self.metric is None or found.metric is None:
            return metrics
        reference = self.metric(self.recording.joined(), self.batches.labels)
        return metrics | task_metric_values(reference, found.metric)


EVALUATE = Stage("evaluate", evaluate_converted, (SanitizedSource, Converted), Evaluated)
