"""A small conversion to report on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest

from autocast_core.calibrate.statistics import Statistics, TensorStats
from autocast_core.config import Precision
from autocast_core.evaluate.metric_names import SIMULATION, of_output, of_worst_output
from autocast_core.plan import Evidence, NodeDecision, PrecisionPlan
from autocast_core.report.content import DataUsed, FileFacts, ReportInput
from autocast_core.report.network import EdgeCast, Network, NodeWiring

MakeReport = Callable[..., ReportInput]


@dataclass(frozen=True)
class Fidelity:
    backend: str = "onnxruntime-cpu"
    names: Mapping[str, str] = field(default_factory=lambda: {"logits": "logits"})
    rel_l2: float = 0.000501

    def metrics(self, prefix: str = SIMULATION) -> dict[str, float]:
        names = [
            of_worst_output("rel_l2", prefix),
            *(of_output(name, "rel_l2", prefix) for name in self.names.values()),
        ]
        return dict.fromkeys(names, self.rel_l2) | {of_worst_output("sqnr_db", prefix): 66.25}


@dataclass(frozen=True)
class Gate:
    expression: str
    value: float | None
    passed: bool
    reason: str = ""


@pytest.fixture
def gate() -> type[Gate]:
    return Gate


@pytest.fixture
def fidelity() -> type[Fidelity]:
    return Fidelity


@pytest.fixture
def make_report() -> MakeReport:
    """`build_report` as a fixture."""
    return build_report


def build_report(names: Sequence[str] = ("a", "b", "c"), **changes: Any) -> ReportInput:
    """A report on a chain of nodes: each reads the one before; every tenth reaches 1,000 and stays in FP32.

    `metrics` among the `changes` are added to those of the plan, the files and the fidelities.
    """
    kept = {name for index, name in enumerate(names) if index % 10 == 0}
    plan = PrecisionPlan(
        low=Precision.FP16,
        structure_digest="5" * 64,
        weights_digest="6" * 64,
        nodes=tuple(_decision(name, name in kept) for name in names),
        engine_version="0.1.0",
    )
    values = ["image", *(f"{name} out" for name in names)]
    wires = zip(names, values, values[1:], strict=False)
    defaults: dict[str, Any] = {
        "name": "digits-fp16",
        "plan": plan,
        "statistics": Statistics(
            {f"{name} out": TensorStats(10, -2.0, 1000.0 if name in kept else 3.0) for name in names},
            batches=4,
            origin="calibration",
            digest="7" * 64,
            backend="onnxruntime-cpu",
        ),
        "source": FileFacts("s3://models/digits.onnx", "1" * 64, 248_023),
        "output": FileFacts("digits.fp16.onnx", "2" * 64, 126_000),
        "fidelity": {"fidelity": Fidelity()},
        "gates": (Gate("sqnr_db>=40", 66.25, True),),
        "data": (DataUsed("calibration", "calibration", "c.npz", "7" * 64, 4),),
        "versions": {"onnx": "1.23.2"},
        "network": Network(
            "digits",
            ("image",),
            (values[-1],),
            tuple(NodeWiring(f"graph/{n}", n, (left,), (right,)) for n, left, right in wires),
            tuple(
                EdgeCast(f"{a} out", f"graph/{b}", _to(b in kept))
                for a, b in pairwise(names)
                if (a in kept) != (b in kept)
            ),
        ),
    }
    fields = {**defaults, **{name: value for name, value in changes.items() if name != "metrics"}}
    metrics = {
        **fields["plan"].counts().metrics(),
        "casts/inserted": 2,
        "model/bytes_before": fields["source"].bytes,
        "model/bytes_after": fields["output"].bytes,
    }
    for prefix, measured in fields["fidelity"].items():
        metrics |= measured.metrics(prefix)
    return ReportInput(**fields, metrics={**metrics, **changes.get("metrics", {})})


def _to(is_kept: bool) -> str:
    return "float" if is_kept else "float16"


def _decision(name: str, kept: bool) -> NodeDecision:
    if not kept:
        return NodeDecision(f"graph/{name}", "Relu", Precision.FP16, "default")
    evidence = Evidence(f"{name} out", -2.0, 1000.0, 1000.0, 512.0)
    reason = f"tensor '{name} out' reaches 1000, over data_max 512"
    return NodeDecision(f"graph/{name}", "Conv", Precision.FP32, "io_range", reason=reason, evidence=(evidence,))
