"""What the compatibility suite asks of a converted model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx

from tests.onnx_models import interface_types, operator_types, run_in_onnxruntime

NAMES = {
    onnx.TensorProto.FLOAT: "fp32",
    onnx.TensorProto.FLOAT16: "fp16",
    onnx.TensorProto.BFLOAT16: "bf16",
    onnx.TensorProto.DOUBLE: "fp64",
    onnx.TensorProto.INT64: "int64",
    onnx.TensorProto.INT32: "int32",
    onnx.TensorProto.INT8: "int8",
    onnx.TensorProto.BOOL: "bool",
}

CHAIN = """<ir_version: 8, opset_import: ["": 17]>
g (float[2,4] x) => (float[2,4] y)
<float[4,4] w = {1, -2, 3, -4, 0.5, 0.25, -0.5, 1, 2, 1, 0, -1, 3, 0.125, 1, 2}, float[4] b = {0.5, -0.5, 8, 0.25}>
{ [mm] m = MatMul(x, w) [add] a = Add(m, b) [relu] r = Relu(a) [exp] e = Exp(b) [mul] y = Mul(r, e) }"""
"""Five nodes; for x within ±1 every tensor stays below 30, but those of `exp` and `mul`, which reach 2981 and more."""

X = np.array([[0.5, -1.0, 0.25, 1.0], [1.0, 0.5, -0.5, 0.0]], np.float32)


@dataclass(frozen=True)
class ConvertedModel:
    """A converted model and what its tensors are."""

    model: onnx.ModelProto

    @cached_property
    def types(self) -> Mapping[str, str]:
        """The type of every value of the main graph, by name."""
        inferred = onnx.shape_inference.infer_shapes(self.model).graph
        found = {each.name: NAMES[each.data_type] for each in inferred.initializer}
        for info in (*inferred.input, *inferred.value_info, *inferred.output):
            found[info.name] = NAMES.get(info.type.tensor_type.elem_type, "other")
        return found

    def precision(self, node: str) -> str:
        """The type of the first output of the node of that name."""
        (found,) = [each for each in self.model.graph.node if each.name == node]
        return self.types[found.output[0]]

    @property
    def precisions(self) -> dict[str, str]:
        """That of every named node but Casts, by name."""
        nodes = [each for each in self.model.graph.node if each.op_type != "Cast"]
        return {each.name: self.types[each.output[0]] for each in nodes}

    @property
    def kept(self) -> set[str]:
        """The nodes that compute in FP32."""
        return {name for name, precision in self.precisions.items() if precision == "fp32"}

    @property
    def weights(self) -> dict[str, str]:
        """The type of every initializer, by name."""
        return {each.name: NAMES[each.data_type] for each in self.model.graph.initializer}

    @property
    def interface(self) -> dict[str, str]:
        """The type of every graph input and output, by name."""
        return {name: NAMES[kind] for name, kind in interface_types(self.model).items()}

    @property
    def operators(self) -> list[str]:
        """The operators of the main graph, in order."""
        return operator_types(self.model)

    @property
    def opset(self) -> int:
        """The version of the default domain."""
        return next(each.version for each in self.model.opset_import if each.domain == "")

    def run(self, **feeds: Any) -> list[np.ndarray]:
        """The outputs in ONNX Runtime, as FP32, for feeds that are given as FP32."""
        kinds = {name: onnx.helper.tensor_dtype_to_np_dtype(kind) for name, kind in interface_types(self.model).items()}
        found = run_in_onnxruntime(self.model, {name: value.astype(kinds[name]) for name, value in feeds.items()})
        return [np.asarray(each, np.float32) for each in found]
