"""One fixture, `convert`: a model through the public pipeline, with what must hold of every conversion asserted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx.parser
import pytest

from autocast_core import ConversionConfig, Precision, convert_file
from autocast_core.pipeline.convert import Conversion
from tests.onnx_models import run_in_onnxruntime, run_in_reference

NUMPY = {
    onnx.TensorProto.FLOAT: np.float32,
    onnx.TensorProto.FLOAT16: np.float16,
    onnx.TensorProto.BFLOAT16: ml_dtypes.bfloat16,
    onnx.TensorProto.DOUBLE: np.float64,
}


@dataclass(frozen=True)
class Converted:
    """A conversion that has passed the checks, as protobuf before and after."""

    before: onnx.ModelProto
    after: onnx.ModelProto
    conversion: Conversion
    path: Path
    feeds: Mapping[str, np.ndarray] = field(default_factory=dict)

    @cached_property
    def types(self) -> dict[str, int]:
        """Element type by value name, after; bodies included."""
        found: dict[str, int] = {}
        for graph in graphs(onnx.shape_inference.infer_shapes(self.after, data_prop=True).graph):
            for tensor in graph.initializer:
                found[tensor.name] = tensor.data_type
            for info in (*graph.input, *graph.output, *graph.value_info):
                found[info.name] = element_type(info.type)
        return found

    def type_of(self, name: str) -> str:
        """``float16``, ``float``, … of a value."""
        return onnx.TensorProto.DataType.Name(self.types[name]).lower()

    def nodes(self, op_type: str) -> list[onnx.NodeProto]:
        """The nodes of an operator after the conversion, bodies included."""
        return [node for graph in graphs(self.after.graph) for node in graph.node if node.op_type == op_type]

    def decision(self, node_id: str) -> tuple[str, str]:
        """Precision and rule of a node; its name stands for one of the main graph."""
        node_id = node_id if "/" in node_id else f"graph/{node_id}"
        found = self.conversion.plan.by_id()[node_id]
        return str(found.precision), found.rule

    def initializer(self, name: str) -> np.ndarray:
        """The values of an initializer after the conversion."""
        every = [tensor for graph in graphs(self.after.graph) for tensor in graph.initializer]
        return onnx.numpy_helper.to_array(next(tensor for tensor in every if tensor.name == name))

    def outputs(self, feeds: Mapping[str, np.ndarray] | None = None) -> list[Any]:
        """What the converted model computes, floats as FP32."""
        return run(self.after, self.feeds if feeds is None else feeds)

    def expected(self, feeds: Mapping[str, np.ndarray] | None = None) -> list[Any]:
        """What the source model computes, floats as FP32."""
        return run(self.before, self.feeds if feeds is None else feeds)

    def assert_close(self, feeds: Mapping[str, np.ndarray] | None = None, tolerance: float = 2e-3) -> None:
        """Every output agrees with the source model's, within `tolerance` of its largest magnitude."""
        for want, got in zip(self.expected(feeds), self.outputs(feeds), strict=True):
            assert_agree(want, got, tolerance)


def assert_agree(want: Any, got: Any, tolerance: float) -> None:
    if isinstance(want, list):
        assert len(want) == len(got)
        for left, right in zip(want, got, strict=True):
            assert_agree(left, right, tolerance)
    elif want is None or got is None:
        assert want is None and got is None
    else:
        assert np.shape(want) == np.shape(got)
        if np.asarray(want).dtype.kind != "f":
            np.testing.assert_array_equal(want, got)
        else:
            finite = np.abs(want)[np.isfinite(want)]
            scale = float(finite.max()) if finite.size else 1.0
            np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * max(scale, 1e-30))


def graphs(graph: onnx.GraphProto) -> list[onnx.GraphProto]:
    """The graph and its bodies."""
    found = [graph]
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found += graphs(attribute.g)
            for body in attribute.graphs:
                found += graphs(body)
    return found


def element_type(kind: onnx.TypeProto) -> int:
    which = kind.WhichOneof("value")
    if which in ("sequence_type", "optional_type"):
        return element_type(getattr(kind, which).elem_type)
    return getattr(kind, which).elem_type if which in ("tensor_type", "sparse_tensor_type") else 0


def run(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> list[Any]:
    """The outputs, floats as FP32: by ONNX's reference evaluator, which rounds every 16-bit result.

    By ONNX Runtime where that evaluator fails or is known to be wrong: below opset 14 (Softmax and BatchNormalization
    by later definitions), for a Loop without a condition (taken for false), for OptionalGetElement (gives a list). Not
    in IR 3, where it takes no values for initializers.
    """
    wanted = {info.name: NUMPY.get(element_type(info.type)) for info in model.graph.input}
    fed = {}
    for name, value in feeds.items():
        dtype = wanted[name]
        fed[name] = value.astype(dtype) if dtype is not None and isinstance(value, np.ndarray) else value
    opset = next((each.version for each in model.opset_import if each.domain == ""), 13)
    old = opset < 14 and model.ir_version >= 4
    if old or any(node.op_type in ("Loop", "OptionalGetElement") for node in model.graph.node):
        return [_plain(value) for value in run_in_onnxruntime(model, fed)]
    try:
        found = run_in_reference(model, fed)
    except (NotImplementedError, RuntimeError, ValueError):
        found = run_in_onnxruntime(model, fed)
    return [_plain(value) for value in found]


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic) and value.dtype in (np.float16, np.float64, ml_dtypes.bfloat16):
        return np.asarray(value).astype(np.float32)
    return value


def _contract(model: onnx.ModelProto) -> tuple[list[str], list[str]]:
    return [value.name for value in model.graph.input], [value.name for value in model.graph.output]


@pytest.fixture
def convert(tmp_path: Path) -> Callable[..., Converted]:
    """Converts a model given as ONNX text or protobuf; options are ConversionConfig's, FP16 by default.

    `feeds` are the calibration data (random where not given). Asserts that the result is valid, keeps its names, is the
    same when made again, and does not change when its plan is applied to it.
    """

    def convert(
        model: str | onnx.ModelProto, feeds: Mapping[str, Any] | None = None, precision: str = "fp16", **options: Any
    ) -> Converted:
        before = onnx.parser.parse_model(model) if isinstance(model, str) else model
        config = ConversionConfig(precision=Precision(precision), **options)
        source, target, again = (tmp_path / f"{name}.onnx" for name in ("source", "target", "again"))
        onnx.save(before, source)
        conversion = convert_file(source, target, config, calibration=feeds)
        after = onnx.load(target)
        onnx.checker.check_model(target, full_check=True)
        assert _contract(after) == _contract(before)
        convert_file(source, again, config, calibration=feeds)
        assert target.read_bytes() == again.read_bytes(), "the same conversion gave other bytes"
        convert_file(target, again, config, plan=conversion.plan)
        assert onnx.load(again) == after, "applying the plan to its own output changed it"
        return Converted(before, after, conversion, target, dict(feeds or {}))

    return convert
