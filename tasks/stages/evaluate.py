"""Stage: how far the converted model's outputs are from the source's."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task

from autocast_core.config import ConversionConfig, Precision
from autocast_core.errors import BackendError
from autocast_core.evaluate import Evaluation, Fidelity
from autocast_core.model.reference import ModelRef
from tasks.isolation import isolated
from tasks.progress import report

if TYPE_CHECKING:
    import onnx_ir as ir

    from autocast_core.data import Batches
    from autocast_core.evaluate import Recording, TaskMetric
    from autocast_core.runtime import Runtime

SIMULATION = "fidelity"
"""Prefix of what the simulated model's outputs give: FP32 accumulation, 16-bit storage."""
ONNXRUNTIME = "fidelity_onnxruntime"
"""Prefix of what ONNX Runtime's outputs give; its CPU provider computes FP16 models in FP32."""
NOISE_FLOOR = "noise_floor"
"""Prefix of what the source's own outputs give without graph optimisation: errors below it say nothing."""


@dataclass(frozen=True)
class Evaluated:
    """Fidelities by the prefix of their metrics, task metrics where the data has labels or there is a metric of the
    user's own, and on which data (``evaluation``, ``calibration``, ``random``).

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

    @property
    def metrics(self) -> dict[str, float]:
        """Every number under its metric name."""
        found: dict[str, float] = {}
        for prefix, fidelity in self.fidelity.items():
            found |= fidelity.metrics(prefix)
        if self.noise_floor is not None:
            floor = self.noise_floor.worst
            found |= {f"{NOISE_FLOOR}.worst.{name}": getattr(floor, name) for name in ("rel_l2", "max_abs", "sqnr_db")}
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
    def backend(self) -> str:
        """What measured ``fidelity.*``; empty where nothing did."""
        return self.fidelity[SIMULATION].backend if SIMULATION in self.fidelity else ""


def evaluate_model(
    source: ModelRef,
    converted: ModelRef,
    evaluation: Path | None,
    calibration: Path | None,
    config: ConversionConfig,
    backends: tuple[str, ...] = (SIMULATION, ONNXRUNTIME),
    metric: str | None = None,
) -> Evaluated:
    """Compares the converted model with the source on `evaluation`, else `calibration`, else seeded random data.

    In simulation always, and for FP16 models as ONNX Runtime executes them; the source runs once, and once more for the
    noise floor. `metric` is ``module:function``, see autocast_core.evaluate.TaskMetric; its ratio takes the place of
    top-1's. DataError where the data does not fit; ConfigError where the metric cannot be used.
    """
    from autocast_core.evaluate import load_metric, recorded
    from autocast_core.model import load_model
    from autocast_core.pipeline.convert import data_batches, open_runtime
    from autocast_core.simulate import simulate

    own = load_metric(metric) if metric is not None else None
    original, candidate = load_model(source), load_model(converted)
    batches = data_batches(original, config, evaluation or calibration)
    kind = "evaluation" if evaluation else "calibration" if calibration else "random"
    found: dict[str, Evaluation] = {}
    skipped = []
    runtime = open_runtime(config)
    with recorded(original, batches, runtime) as recording:
        judge = _Judge(recording, batches, runtime, own)
        for prefix in backends:
            if prefix == ONNXRUNTIME and config.precision is Precision.BF16:
                skipped.append("ONNX Runtime: its CPU provider has no BF16 kernels")
                continue
            try:
                judged = simulate(candidate) if prefix == SIMULATION else candidate
                found[prefix] = judge.measure(judged, exact=prefix == SIMULATION)
            except BackendError as error:
                skipped.append(f"{prefix}: {error}")
        floor = judge.measure(original, exact=True).fidelity
        task = judge.task(next(iter(found.values()), None))
    return Evaluated(
        kind,
        batches.digest,
        len(batches),
        {prefix: each.fidelity for prefix, each in found.items()},
        task,
        tuple(skipped),
        floor,
    )


evaluate_task = task(name="evaluate", persist_result=True)(isolated(evaluate_model, Evaluated))


@dataclass(frozen=True)
class _Judge:
    """Compares models with the recorded outputs of the source."""

    recording: Recording
    batches: Batches
    runtime: Runtime
    metric: TaskMetric | None

    def measure(self, model: ir.Model, *, exact: bool) -> Evaluation:
        from autocast_core.evaluate import evaluate
        from autocast_core.evaluate.recording import FEW_BATCHES

        few = len(self.batches) <= FEW_BATCHES
        with closing(self.runtime.open(model, exact=exact, few_runs=few)) as session:
            return evaluate(self.recording.replay(), session, self.batches, report, self.metric)

    def task(self, found: Evaluation | None) -> dict[str, float]:
        """The task metrics of what was measured first, beside the source's."""
        from autocast_core.evaluate import metric_names

        if found is None:
            return {}
        metrics = found.task.metrics() if found.task is not None else {}
        if self.metric is None or found.metric is None:
            return metrics
        reference = self.metric(self.recording.joined(), self.batches.labels)
        return metrics | metric_names(reference, found.metric)
