"""Evaluate: how far the converted model's outputs are from the source's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

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
from autocast_core.evaluate.recording import FEW_BATCHES
from autocast_core.graph.walk import all_nodes
from autocast_core.number_formats import LOW_DTYPES
from autocast_core.pipeline.artifacts import Converted
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.stage import Stage
from autocast_core.sanitize.float_types.widen import computes_in
from autocast_core.simulate import CAN_BE_FP32_FOR_FREE, Accumulate, simulate

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

    @property
    def metrics(self) -> dict[str, float]:
        """Every number under its metric name."""
        found: dict[str, float] = {}
        for prefix, fidelity in self.fidelity.items():
            found |= fidelity.metrics(prefix)
        if self.noise_floor is not None:
            floor = self.noise_floor.worst
            found |= {of_worst_output(name, NOISE_FLOOR): getattr(floor, name) for name in _OF_NOISE}
        return {**found, **self.task}

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


def evaluate_converted(job: Job, converted: Converted) -> Evaluated:
    """The converted model beside the source, in simulation and, for FP16 models, as ONNX Runtime executes them."""
    return evaluate_candidate(job, converted.model, (SIMULATION, ONNXRUNTIME))


def evaluate_candidate(job: Job, candidate: ir.Model, backends: tuple[str, ...]) -> Evaluated:
    """`candidate` beside the job's source on its evaluation data, else its calibration data, else seeded random data.

    The source runs once, and once more for the noise floor. With the option `accumulate` the simulation runs once more
    with 16-bit insides, and once for each operator type that can be spared. The job's `metric` is ``module:function``,
    see autocast_core.evaluate.TaskMetric; its ratio takes the place of top-1's. Its judges, and those that its gates
    name, judge what was measured first. DataError where the data does not fit or a judge cannot read the outputs;
    ConfigError where the metric or a judge cannot be used.
    """
    own = load_metric(job.metric) if job.metric is not None else None
    original = job.reference()
    batches = job.batches(original, job.evaluation or job.calibration)
    kind = "evaluation" if job.evaluation else "calibration" if job.calibration else "random"
    named = job.gates.judges if job.gates is not None else ()
    judges = asked_judges(job.config.judges, named, (str(value.name) for value in original.graph.outputs))
    found: dict[str, Evaluation] = {}
    skipped = []
    with recorded(original, batches, job.runtime, job.config.class_outputs) as recording:
        comparison = _Comparison(job, recording, batches, own)
        for prefix in (*backends, *_bounds(candidate, backends, Accumulate(job.config.accumulate))):
            if prefix == ONNXRUNTIME and computes_in(candidate, _BF16):
                skipped.append("ONNX Runtime: its CPU provider has no BF16 kernels")
                continue
            try:
                still = () if found else judges
                measured = _form(candidate, prefix)
                found[prefix] = comparison.measure(measured, exact=prefix != ONNXRUNTIME, judges=still)
            except BackendError as error:
                skipped.append(f"{prefix}: {error}")
        try:
            floor = comparison.measure(original, exact=True).fidelity
        except BackendError as error:  # runtimes may load a source only with their own graph optimisation
            floor = None
            skipped.append(f"noise floor: {error}")
        first = next(iter(found.values()), None)
        task = comparison.task_metrics(first)
    judged = () if first is None else first.judged
    return Evaluated(
        kind,
        batches.digest,
        len(batches),
        {prefix: each.fidelity for prefix, each in found.items()},
        task,
        tuple(skipped),
        floor,
        {name: place for each in judged for name, place in each.places().items()},
    )


def _bounds(candidate: ir.Model, backends: tuple[str, ...], accumulate: Accumulate) -> Iterator[str]:
    """The prefixes of the bound, and of the bound with each operator type that can be FP32 inside spared, where the
    simulation is among `backends` and a bound is asked for."""
    if SIMULATION not in backends or accumulate is Accumulate.FP32:
        return
    yield bound_prefix(accumulate)
    low = (node for node in all_nodes(candidate.graph) if any(value.dtype in LOW_DTYPES for value in node.outputs))
    for op_type in sorted(CAN_BE_FP32_FOR_FREE & {node.op_type for node in low}):
        yield bound_prefix(accumulate, op_type)


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

    def measure(self, model: ir.Model, *, exact: bool, judges: Sequence[AskedJudge] = ()) -> Evaluation:
        few = len(self.batches) <= FEW_BATCHES
        with closing(self.job.runtime.open(model, exact=exact, few_runs=few, batches=self.batches)) as session:
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


EVALUATE = Stage("evaluate", evaluate_converted, (Converted,), Evaluated)
