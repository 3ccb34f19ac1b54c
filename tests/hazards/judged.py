"""A hazard through the stages that `autocast run` runs, without servers, and through an oracle of its own."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from autocast_core import ConversionConfig, Precision
from autocast_core.evaluate import AskedGates, GateResult
from autocast_core.evaluate.metric_names import SIMULATION
from autocast_core.model import save_model
from autocast_core.pipeline.artifacts import Converted, SanitizedSource
from autocast_core.pipeline.convert import planning_stages
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.measured import measured_model
from autocast_core.pipeline.stage import Artifacts, in_this_process, run_stages
from autocast_core.pipeline.stages.apply import APPLY
from autocast_core.pipeline.stages.evaluate import Evaluated, evaluate_candidate
from autocast_core.pipeline.stages.explain import explain
from autocast_core.pipeline.stages.load import LOAD
from autocast_core.pipeline.stages.verify import VERIFY
from autocast_core.plan import PrecisionPlan
from autocast_core.precision import parse_low_types
from flows.request.spec import make_spec
from tasks.stages.gates import check_gates, check_nonfinite, with_blame
from tests.hazards.fidelity import Agreement, agreement
from tests.hazards.hazard import Hazard
from tests.hazards.rounding_oracle import run_rounding
from tests.onnx_models import run_in_onnxruntime

UNCHANGEABLE = ("legality", "already_low", "plugin_precision")
"""Rules whose nodes no plan can lower."""


@dataclass(frozen=True)
class Planned:
    """A net with the plan that was made for it, and what the oracle thinks of other plans."""

    hazard: Hazard
    job: Job
    made: Artifacts

    @property
    def plan(self) -> PrecisionPlan:
        """The plan."""
        return self.made[PrecisionPlan]

    @property
    def kept(self) -> tuple[str, ...]:
        """The nodes that the plan keeps in FP32 and another plan could lower."""
        nodes = self.plan.nodes
        return tuple(each.id for each in nodes if each.precision is Precision.FP32 and each.rule not in UNCHANGEABLE)

    def lowering(self, nodes: tuple[str, ...]) -> PrecisionPlan:
        """The plan with `nodes` lowered."""
        return self.plan.with_precisions(dict.fromkeys(nodes, self.job.config.precision), "oracle", "a trial")

    def converted(self, plan: PrecisionPlan) -> ir.Model:
        """The model that `plan` describes."""
        # Applying a plan changes the sanitized model in place.
        sanitized = self.made[SanitizedSource]
        start = self.made.having(SanitizedSource, replace(sanitized, model=sanitized.model.clone()))
        made = run_stages((APPLY, VERIFY), in_this_process(self.job), start.having(PrecisionPlan, plan))
        return made[Converted].model

    def as_proto(self) -> onnx.ModelProto:
        """The model that the plan describes."""
        return _as_proto(self.converted(self.plan))

    def judge(self, plan: PrecisionPlan) -> Agreement:
        """What the oracle says of the model that `plan` describes, on held-out data."""
        return judge_file(self.hazard, _as_proto(self.converted(plan)), self._expected)

    def needless(self) -> tuple[str, ...]:
        """The kept nodes that can all be lowered together for less than 0.5 dB and no integer, by the oracle.

        All where that is so, else those that are found one after the other in the order of the graph.
        """
        kept, now = self.kept, self.judge(self.plan)
        if not kept or self.judge(self.lowering(kept)).costs_nothing(now):
            return kept
        found: tuple[str, ...] = ()
        for node in kept if len(kept) > 1 else ():
            if self.judge(self.lowering((*found, node))).costs_nothing(now):
                found = (*found, node)
        return found

    @cached_property
    def _expected(self) -> list[np.ndarray]:
        return run_in_onnxruntime(self.hazard.model(), self.hazard.held_out())


@dataclass(frozen=True)
class Judged:
    """What a plan makes of a net on held-out data: as the gates see it, and as the oracle does."""

    planned: Planned
    evaluated: Evaluated
    gates: tuple[GateResult, ...]
    oracle: Agreement

    @property
    def plan(self) -> PrecisionPlan:
        """The plan."""
        return self.planned.plan

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
        return self.evaluated.metrics.get("fidelity/worst_batch/sqnr_db", float("nan"))


def planned(
    hazard: Hazard,
    precision: Precision | tuple[Precision, Precision] = Precision.FP16,
    *,
    decide: str = "measured",
    allow_nonfinite: bool = False,
) -> Planned:
    """Plan with calibration on some samples, and repair; held-out ones are the job's evaluation data."""
    job = Job(
        hazard.model(),
        _config(precision, decide),
        calibration=hazard.calibration(),
        evaluation=hazard.held_out(),
        allow_nonfinite=allow_nonfinite,
    )
    around = in_this_process(job)
    made = run_stages((LOAD, *planning_stages(job.config)), around)
    return Planned(hazard, job, measured_model(job, made, around, around) if decide == "measured" else made)


def _config(precision: Precision | tuple[Precision, Precision], decide: str) -> ConversionConfig:
    """By thresholds the converter's defaults, measured those of a spec."""
    if decide == "measured":
        return make_spec({"precision": precision, "batch_size": 4}, "a test").config()
    main, second = parse_low_types(precision)
    return ConversionConfig(precision=main, range_precision=second, batch_size=4, decide=decide)


def judged(
    hazard: Hazard,
    precision: Precision = Precision.FP16,
    *,
    decide: str = "measured",
    gates: tuple[str, ...] = (),
    allow_nonfinite: bool = False,
) -> Judged:
    """Plan, convert and judge as `autocast run` does."""
    found = planned(hazard, precision, decide=decide, allow_nonfinite=allow_nonfinite)
    sanitized = found.made[SanitizedSource]
    attribution = explain(found.job, replace(sanitized, model=sanitized.model.clone()), found.plan)
    evaluated = evaluate_candidate(found.job, found.converted(found.plan), (SIMULATION,))
    checked = (
        *check_gates(AskedGates(gates, allow_random=False), evaluated, precision),
        *check_nonfinite(evaluated, found.plan.nonfinite_weights(), allowed=allow_nonfinite),
    )
    return Judged(found, evaluated, with_blame(checked, attribution), found.judge(found.plan))


def all_lowered(hazard: Hazard, precision: Precision) -> Agreement:
    """What the oracle says where every node that can be is lowered."""
    found = planned(hazard, precision, decide="thresholds")
    return found.judge(found.lowering(found.kept))


def judge_file(hazard: Hazard, model: onnx.ModelProto, expected: list[np.ndarray] | None = None) -> Agreement:
    """What the oracle says of a converted model of the net, whoever made it."""
    feeds = hazard.held_out()
    if expected is None:
        expected = run_in_onnxruntime(hazard.model(), feeds)
    return agreement(expected, run_rounding(model, feeds), len(next(iter(feeds.values()))))


def _as_proto(converted: ir.Model) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "converted.onnx"
        save_model(converted, path)
        return onnx.load(path)
