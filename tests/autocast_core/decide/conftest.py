"""Models as ONNX text, loaded and typed, and facts about single nodes for rules."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from autocast_core.calibrate import Statistics
from autocast_core.calibrate.statistics import TensorStats
from autocast_core.calibrate.weights import scan_weights
from autocast_core.config import ConversionConfig, Precision
from autocast_core.decide import NodeFacts, TensorFacts, decide
from autocast_core.operators import Operands
from autocast_core.plan import PrecisionPlan
from autocast_core.sanitize import sanitize


def load(text: str, opset: int = 17) -> ir.Model:
    head = f'<ir_version: 10, opset_import: ["": {opset}, "com.microsoft": 1, "custom": 1]>\n'
    proto = onnx.shape_inference.infer_shapes(onnx.parser.parse_model(head + text), data_prop=True)
    return ir.serde.deserialize_model(proto)


@pytest.fixture
def model() -> Callable[..., ir.Model]:
    """A model from ONNX text, at an opset, with inferred types."""
    return load


@pytest.fixture
def plan() -> Callable[..., PrecisionPlan]:
    """The plan for a model given as text, by the ranges of its tensors: name to (min, max)."""

    def make(
        text: str, ranges: dict | None = None, opset: int = 17, precision: str = "fp16", **options
    ) -> PrecisionPlan:
        config = ConversionConfig(precision=Precision(precision), opset=opset, **options)
        sanitized = sanitize(load(text, opset), config).model
        tensors = {name: TensorStats(count=10, min=low, max=high) for name, (low, high) in (ranges or {}).items()}
        statistics = Statistics(tensors, batches=1, origin="calibration") if ranges is not None else Statistics()
        return decide(sanitized, statistics, scan_weights(sanitized, config.precision), config)

    return make


@pytest.fixture
def facts() -> Callable[..., NodeFacts]:
    """Facts about one Add node whose tensors are given as (name, TensorStats or None, further fields)."""

    def make(*tensors: tuple, precision: str = "fp16", node: ir.Node | None = None, **more) -> NodeFacts:
        node = node or ir.Node("", "Add", [], num_outputs=1, name="add")
        return NodeFacts(
            id=f"graph/{node.name}",
            node=node,
            names=(node.name or "", *more.pop("fused", ())),
            operands=Operands((True,), (True,), is_float=True),
            tensors=tuple(TensorFacts(name, stats, **fields) for name, stats, fields in tensors),
            precision=Precision(precision),
            **more,
        )

    return make
