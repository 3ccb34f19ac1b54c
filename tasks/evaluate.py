"""Stage: how far the converted model's outputs are from the source's."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import task

from autocast_core.config import ConversionConfig, Precision
from autocast_core.errors import BackendError
from autocast_core.evaluate import Evaluation, Fidelity
from autocast_core.model.reference import ModelRef
from tasks.progress import report

if TYPE_CHECKING:
    import onnx_ir as ir

    from autocast_core.calibrate import Batches
    from autocast_core.runtime import Runtime

SIMULATION = "fidelity"
"""Prefix of what the simulated model's outputs give: FP32 accumulation, 16-bit storage."""
ONNXRUNTIME = "fidelity_onnxruntime"
"""Prefix of what ONNX Runtime's outputs give; its CPU provider computes FP16 models in FP32."""
_FEW = 4


@dataclass(frozen=True)
class Evaluated:
    """Fidelities by the prefix of their metrics, task metrics where the data has labels, and on which data
    (``evaluation``, ``calibration``, ``random``); `skipped` says what was not measured and why."""

    data: str
    digest: str | None
    batches: int
    fidelity: Mapping[str, Fidelity] = field(default_factory=dict)
    task: Mapping[str, float] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()

    @property
    def metrics(self) -> dict[str, float]:
        """Every number under its metric name."""
        found: dict[str, float] = {}
        for prefix, fidelity in self.fidelity.items():
            found |= fidelity.metrics(prefix)
        return {**found, **self.task}

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
) -> Evaluated:
    """Compares the converted model with the source on `evaluation`, else `calibration`, else seeded random data.

    In simulation always, and for FP16 models as ONNX Runtime executes them. DataError where the data does not fit.
    """
    from autocast_core.calibrate import input_specs, open_batches, table_sizes
    from autocast_core.convert import open_runtime
    from autocast_core.model import load_model
    from autocast_core.simulate import simulate

    original, candidate = load_model(source), load_model(converted)
    batches = open_batches(
        evaluation or calibration,
        input_specs(original),
        batch_size=config.batch_size,
        shapes=config.shapes,
        seed=config.seed,
        table_sizes=table_sizes(original),
    )
    kind = "evaluation" if evaluation else "calibration" if calibration else "random"
    runtime = open_runtime(config)
    found: dict[str, Evaluation] = {}
    skipped = []
    for prefix in backends:
        if prefix == ONNXRUNTIME and config.precision is Precision.BF16:
            skipped.append("ONNX Runtime: its CPU provider has no BF16 kernels")
            continue
        try:
            judged = simulate(candidate) if prefix == SIMULATION else candidate
            found[prefix] = _measure(original, judged, batches, runtime, exact=prefix == SIMULATION)
        except BackendError as error:
            skipped.append(f"{prefix}: {error}")
    tasks = [each.task.metrics() for each in found.values() if each.task is not None]
    return Evaluated(
        kind,
        batches.digest,
        len(batches),
        {prefix: each.fidelity for prefix, each in found.items()},
        tasks[0] if tasks else {},
        tuple(skipped),
    )


evaluate_task = task(name="evaluate", persist_result=True)(evaluate_model)


def _measure(original: ir.Model, candidate: ir.Model, batches: Batches, runtime: Runtime, *, exact: bool) -> Evaluation:
    from autocast_core.evaluate import evaluate

    few = len(batches) <= _FEW
    with (
        closing(runtime.open(original, few_runs=few)) as reference,
        closing(runtime.open(candidate, exact=exact, few_runs=few)) as judged,
    ):
        return evaluate(reference, judged, batches, report)
