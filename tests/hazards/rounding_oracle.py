"""What a mixed-precision model computes, by an interpreter that shares no code with the simulation.

Every node runs alone in ONNX's reference evaluator, on FP32 copies of its inputs; its results are rounded to the types
that ONNX's own inference gives them. So an operator computes in FP32 inside and stores in 16 bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx.numpy_helper
import onnx.shape_inference
from onnx.reference import ReferenceEvaluator

_FLOAT = onnx.TensorProto.FLOAT
_LOW: Mapping[int, type] = {onnx.TensorProto.FLOAT16: np.float16, onnx.TensorProto.BFLOAT16: ml_dtypes.bfloat16}
_Values = dict[str, Any]
_Types = dict[str, int]


def run_rounding(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs of `model` in order; 16-bit ones as FP32 arrays of their values."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=False)
    opsets = {each.domain: each.version for each in model.opset_import}
    run = _Interpreter(opsets, _types(inferred.graph))
    with np.errstate(all="ignore"):
        return run.graph(inferred.graph, {**feeds}, {})


def _types(graph: onnx.GraphProto) -> _Types:
    found: _Types = {}
    for each in (*graph.value_info, *graph.input, *graph.output):
        found[each.name] = each.type.tensor_type.elem_type
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                found |= _types(attribute.g)
    return found


class _Interpreter:
    def __init__(self, opsets: Mapping[str, int], types: _Types) -> None:
        self._opsets, self._types = opsets, types

    def graph(self, graph: onnx.GraphProto, feeds: _Values, outer: _Values) -> list[Any]:
        values = outer | {each.name: _widened(each) for each in graph.initializer}
        values |= {name: self._rounded(name, array) for name, array in feeds.items()}
        for node in graph.node:
            results = self._node(node, values)
            named = zip(node.output, results, strict=False)
            values |= {name: self._rounded(name, result) for name, result in named if name}
        return [values[each.name] for each in graph.output]

    def _rounded(self, name: str, array: Any) -> Any:
        low = _LOW.get(self._types.get(name, 0))
        if low is None or not isinstance(array, np.ndarray | np.generic):
            return array
        return np.asarray(array, dtype=np.float32).astype(low).astype(np.float32)

    def _node(self, node: onnx.NodeProto, values: _Values) -> Sequence[Any]:
        attributes = {each.name: each for each in node.attribute}
        if node.op_type == "If":
            branch = "then_branch" if bool(np.asarray(values[node.input[0]]).item()) else "else_branch"
            return self.graph(attributes[branch].g, {}, values)
        if node.op_type == "Loop":
            return self._loop(node, attributes["body"].g, values)
        if node.op_type == "Scan":
            return self._scan(node, attributes, values)
        if node.op_type == "Constant":
            return [_widened(attributes["value"].t)] if "value" in attributes else self._alone(node, {})
        return self._alone(_in_fp32(node), {name: values[name] for name in node.input if name})

    def _alone(self, node: onnx.NodeProto, feeds: _Values) -> Sequence[Any]:
        return ReferenceEvaluator(node, opsets=dict(self._opsets)).run(None, feeds)

    def _loop(self, node: onnx.NodeProto, body: onnx.GraphProto, values: _Values) -> Sequence[Any]:
        limit = int(np.asarray(values[node.input[0]]).item()) if node.input[0] else np.iinfo(np.int64).max
        going = bool(np.asarray(values[node.input[1]]).item()) if node.input[1] else True
        states = [values[name] for name in node.input[2:]]
        collected: list[list[Any]] = [[] for _ in range(len(body.output) - 1 - len(states))]
        step = 0
        while going and step < limit:
            given = [np.asarray(step, np.int64), np.asarray(going), *states]
            feeds = dict(zip((each.name for each in body.input), given, strict=True))
            condition, *results = self.graph(body, feeds, values)
            going, step = bool(np.asarray(condition).item()), step + 1
            states = results[: len(states)]
            for into, each in zip(collected, results[len(states) :], strict=True):
                into.append(each)
        return [*states, *(np.stack(each) for each in collected)]

    def _scan(
        self, node: onnx.NodeProto, attributes: Mapping[str, onnx.AttributeProto], values: _Values
    ) -> Sequence[Any]:
        body, scanned = attributes["body"].g, attributes["num_scan_inputs"].i
        given = [values[name] for name in node.input]
        states, inputs = given[:-scanned], given[-scanned:]
        collected: list[list[Any]] = [[] for _ in range(len(body.output) - len(states))]
        for step in range(len(inputs[0])):
            feeds = [*states, *(each[step] for each in inputs)]
            results = self.graph(body, dict(zip((each.name for each in body.input), feeds, strict=True)), values)
            states = results[: len(states)]
            for into, each in zip(collected, results[len(states) :], strict=True):
                into.append(each)
        return [*states, *(np.stack(each) for each in collected)]


def _widened(tensor: onnx.TensorProto) -> np.ndarray:
    array = onnx.numpy_helper.to_array(tensor)
    return array.astype(np.float32) if tensor.data_type in _LOW else array


def _in_fp32(node: onnx.NodeProto) -> onnx.NodeProto:
    """The node with FP32 in place of 16-bit types in its attributes."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    for each in copy.attribute:
        if each.name in ("to", "dtype", "stash_type", "output_dtype") and each.i in _LOW:
            each.i = _FLOAT
        elif each.type == onnx.AttributeProto.TENSOR and each.t.data_type in _LOW:
            each.t.CopyFrom(onnx.numpy_helper.from_array(_widened(each.t), each.t.name))
    return copy
