"""On real architectures: no more casts than the plan makes necessary, and each low weight stored once in 16 bits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

from autocast_core.apply import apply_plan
from autocast_core.calibrate import Statistics
from autocast_core.config import ConversionConfig
from autocast_core.decide import decide
from autocast_core.graph.walk import nodes_with_ids
from autocast_core.model import load_model
from autocast_core.operators import OperandPolicy, float_operands
from autocast_core.plan import PrecisionPlan
from autocast_core.sanitize import sanitize
from tests.models import ARCHITECTURES, build
from tests.properties.graphs import float_casts, graphs, repeated_casts, undone_casts

KEPT = {"nothing": (), "the sensitive operators": ("Softmax", "LayerNormalization", "ReduceMean", "Pow", "LSTM", "If")}


@pytest.fixture(scope="module", params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model file of an architecture with two layers a stage."""
    return build(request.param, tmp_path_factory.mktemp(request.param), layers=2).path


def converted(path: Path, kept_types: Sequence[str]) -> tuple[ir.Model, PrecisionPlan, onnx.ModelProto]:
    """The sanitized model, its plan decided without data, and the converted model."""
    config = ConversionConfig(op_types_to_exclude=tuple(kept_types), keep_io_types=True)
    model = sanitize(load_model(path), config).model
    applied = apply_plan(model, decide(model, Statistics(), {}, config))
    return model, applied.plan, ir.to_proto(applied.model)


@pytest.mark.parametrize("kept_types", KEPT.values(), ids=KEPT.keys())
def test_every_cast_is_necessary(architecture: Path, kept_types: Sequence[str]):
    _, _, after = converted(architecture, kept_types)
    assert repeated_casts(after) == []
    assert undone_casts(after) == []
    assert [*unread_casts(after)] == []
    assert [*cast_literals(after)] == []


@pytest.mark.parametrize("kept_types", KEPT.values(), ids=KEPT.keys())
def test_each_weight_of_low_nodes_is_stored_once_in_16_bits(architecture: Path, kept_types: Sequence[str]):
    model, plan, after = converted(architecture, kept_types)
    stored = {tensor.name: tensor.data_type for graph in graphs(after.graph) for tensor in graph.initializer}
    for name, requested in requested_widths(model, plan).items():
        if requested == {True}:
            assert (stored[name], f"{name}_fp16" in stored) == (onnx.TensorProto.FLOAT16, False), name
        elif requested == {False}:
            assert (stored[name], f"{name}_fp16" in stored) == (onnx.TensorProto.FLOAT, False), name
        else:
            assert (stored[name], stored[f"{name}_fp16"]) == (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16), name


def requested_widths(model: ir.Model, plan: PrecisionPlan) -> dict[str, set[bool]]:
    """Per FP32 initializer that nodes read: whether they read it in 16 bits (both, where they differ)."""
    low = {decision.id for decision in plan.nodes if decision.precision.is_low}
    requested: dict[str, set[bool]] = {}
    policy = OperandPolicy.of_plan(model, plan)
    for node_id, node in nodes_with_ids(model.graph):
        operands = float_operands(node, policy, plan.precision)
        for value, moves in zip(node.inputs, operands.inputs, strict=True):
            if value is not None and value.is_initializer() and value.dtype == ir.DataType.FLOAT:
                requested.setdefault(value.name or "", set()).add(moves and node_id in low)
    return requested


def unread_casts(model: onnx.ModelProto) -> Iterator[str]:
    """Casts to floats that nothing reads and that make no output."""
    every = [*graphs(model.graph)]
    read = {name for graph in every for node in graph.node for name in node.input}
    read |= {value.name for graph in every for value in graph.output}
    return (name for graph in every for name in float_casts(graph) if name not in read)


def cast_literals(model: onnx.ModelProto) -> Iterator[str]:
    """Casts of floats that are stored in the model, which could have been stored in the other type."""
    every = [*graphs(model.graph)]
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    literals = {tensor.name for graph in every for tensor in graph.initializer if tensor.data_type in floats}
    return (name for graph in every for name, cast in float_casts(graph).items() if cast.input[0] in literals)
