"""A hazard through the stages that `autocast run` runs, without servers, and through an oracle of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from autocast_core import ConversionConfig, Precision
from autocast_core.evaluate import GateResult
from autocast_core.model import save_model
from autocast_core.pipeline.artifacts import Converted, SanitizedSource
from autocast_core.pipeline.convert import planning_stages
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.stage import in_this_process, run_stages
from autocast_core.pipeline.stages.apply import APPLY
from autocast_core.pipeline.stages.evaluate import SIMULATION, Evaluated, evaluate_candidate
from autocast_core.pipeline.stages.explain import explain
from autocast_core.pipeline.stages.load import LOAD
from autocast_core.pipeline.stages.verify import VERIFY
from autocast_core.plan import PrecisionPlan
from tasks.stages.gates import check_gates, check_nonfinite, with_blame
from tests.hazards.nets import Hazard
from tests.onnx_models import run_in_onnxruntime, run_in_reference


@dataclass(frozen=True)
class Judged:
    """What the default plan makes of a net on held-out data: as the gates see it, and as the oracle does."""

    evaluated: Evaluated
    gates: tuple[GateResult, ...]
    plan: PrecisionPlan
    oracle: float
    """SQNR in dB of the worst output in ONNX's reference evaluator, which rounds every 16-bit result."""

    @property
    def passed(self) -> bool:
        """Whether the flow would publish the model."""
        return all(gate.passed for gate in self.gates)

    @property
    def missed(self) -> str:
        """The reasons of the missed gates."""
        return "; ".join(f"{gate.expression} {gate.reason}" for gate in self.gates if not gate.passed)

    @property
    def simulated(self) -> float:
        """SQNR in dB of the worst batch in simulation."""
        return self.evaluated.metrics.get("fidelity.worst_batch.sqnr_db", float("nan"))


def judged(
    hazard: Hazard, precision: Precision = Precision.FP16, *, gates: tuple[str, ...] = (), allow_nonfinite: bool = False
) -> Judged:
    """Convert with calibration on some samples, judge on others."""
    held_out = hazard.samples(np.random.default_rng(99))
    job = Job(
        hazard.model(),
        ConversionConfig(precision=precision, batch_size=4),
        calibration=hazard.samples(np.random.default_rng(1)),
        evaluation=held_out,
        allow_nonfinite=allow_nonfinite,
    )
    planned = run_stages((LOAD, *planning_stages(job.config)), in_this_process(job))
    plan, sanitized = planned[PrecisionPlan], planned[SanitizedSource]
    # Applying a plan changes the sanitized model in place.
    attribution = explain(job, replace(sanitized, model=sanitized.model.clone()), plan)
    made = run_stages((APPLY, VERIFY), in_this_process(job), planned)
    evaluated = evaluate_candidate(job, made[Converted].model, (SIMULATION,))
    checked = (
        *check_gates(gates, evaluated, allow_random=False, precision=precision),
        *check_nonfinite(evaluated, plan.nonfinite_weights(), allowed=allow_nonfinite),
    )
    oracle = _oracle(hazard.model(), made[Converted].model, held_out) if precision is Precision.FP16 else float("nan")
    return Judged(evaluated, with_blame(checked, attribution), plan, oracle)


def _oracle(source: onnx.ModelProto, converted: ir.Model, feeds: Mapping[str, np.ndarray]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "converted.onnx"
        save_model(converted, path)
        model = onnx.load(path)
    with np.errstate(all="ignore"):
        return min(map(_sqnr, run_in_onnxruntime(source, feeds), run_in_reference(model, _typed(model, feeds))))


def _typed(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    types = {each.name: each.type.tensor_type.elem_type for each in model.graph.input}
    return {name: array.astype(onnx.helper.tensor_dtype_to_np_dtype(types[name])) for name, array in feeds.items()}


def _sqnr(expected: np.ndarray, found: np.ndarray) -> float:
    expected, found = expected.astype(np.float64), found.astype(np.float64)
    if not np.isfinite(found).all():
        return -np.inf
    noise = float(((expected - found) ** 2).sum())
    return 10.0 * np.log10(float((expected**2).sum()) / noise) if noise else np.inf
