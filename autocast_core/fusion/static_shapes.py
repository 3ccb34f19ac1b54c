"""The shapes of all values for inputs of given shapes, those behind computed sizes too.

ONNX's shape inference follows most sizes; where it stops (a Range of a computed length, a Slice with a computed end),
what small integer nodes compute is worked out here, put in their place, and the inference runs again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx.shape_inference
import onnx_ir as ir

from autocast_core.calibrate.tensor_sizes import sizes_of
from autocast_core.model.protobuf.serde import serialize_undeclared
from autocast_core.model.protobuf.skeleton import LARGE_BYTES

_LOG = logging.getLogger(__name__)
_ROUNDS = 4
_MOST_ELEMENTS = 1 << 16

Shapes = dict[str, tuple[int, ...]]


def static_shapes(model: ir.Model, feeds: Mapping[str, np.ndarray]) -> Shapes:
    """By name the shapes of values of the main graph for a batch with the shapes of `feeds`; those that stay unknown
    are left out."""
    found: Shapes = dict(sizes_of(model, feeds).static)
    names = {str(value.name) for node in model.graph for value in node.outputs if value.name}
    for _ in range(_ROUNDS):
        if names <= found.keys():
            break
        before = len(found)
        found = {**_inferred_again(model, found), **found}
        if len(found) == before:
            break
    return found


def _inferred_again(model: ir.Model, known: Shapes) -> Shapes:
    proto = serialize_undeclared(model, LARGE_BYTES)
    for value in proto.graph.input:
        if value.name in known and value.type.HasField("tensor_type"):
            del value.type.tensor_type.shape.dim[:]
            for length in known[value.name]:
                value.type.tensor_type.shape.dim.add().dim_value = length
    values = _integers(proto, known)
    kept = [node for node in proto.graph.node if not all(name in values for name in node.output)]
    made = {name for node in proto.graph.node for name in node.output if name in values} - {
        name for node in kept for name in node.output
    }
    del proto.graph.node[:]
    proto.graph.node.extend(kept)
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(values[name], name) for name in sorted(made))
    try:
        proto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    except Exception as error:  # the C++ side raises many kinds; shapes are then unknown
        _LOG.debug("shapes could not be inferred: %s", error)
        return {}
    found: Shapes = {name: values[name].shape for name in made}
    for info in (*proto.graph.value_info, *proto.graph.output):
        dims = info.type.tensor_type.shape.dim
        if info.type.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in dims):
            found[info.name] = tuple(dim.dim_value for dim in dims)
    return found


def _integers(proto: onnx.ModelProto, known: Shapes) -> dict[str, np.ndarray]:
    """What nodes compute from constants and shapes, as far as it is small and the operators are known here."""
    values = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in proto.graph.initializer
        if tensor.data_location != onnx.TensorProto.EXTERNAL and np.prod(tensor.dims, dtype=int) <= _MOST_ELEMENTS
    }
    found: dict[str, np.ndarray] = {}
    for node in proto.graph.node:
        attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        if node.op_type in ("Shape", "Size"):
            result = _of_shape(node, attributes, known)
        elif node.op_type in _COMPUTED and all(name in values or not name for name in node.input):
            try:
                result = _COMPUTED[node.op_type]([values.get(name) for name in node.input], attributes)
            except (IndexError, TypeError, ValueError, KeyError) as error:
                _LOG.debug("%s is not worked out: %s", node.name, error)
                continue
        else:
            continue
        if result is not None and result.size <= _MOST_ELEMENTS:
            values[node.output[0]] = found[node.output[0]] = result
    return found


def _of_shape(node: onnx.NodeProto, attributes: Mapping[str, Any], known: Shapes) -> np.ndarray | None:
    dims = known.get(node.input[0])
    if dims is None:
        return None
    if node.op_type == "Size":
        return np.array(np.prod(dims, dtype=np.int64))
    return np.array(dims[attributes.get("start", 0) : attributes.get("end")], dtype=np.int64)


_Given = Sequence[Any]
_Attributes = Mapping[str, Any]


def _slice(given: _Given, _: _Attributes) -> np.ndarray:
    data, starts, ends = given[:3]
    axes = given[3] if len(given) > 3 and given[3] is not None else range(len(starts))
    steps = given[4] if len(given) > 4 and given[4] is not None else [1] * len(starts)
    places = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        places[int(axis)] = slice(int(start), int(end) if end >= -data.shape[int(axis)] else None, int(step))
    return np.asarray(data[tuple(places)])


def _divided(given: _Given, _: _Attributes) -> np.ndarray:
    left, right = given
    whole = np.issubdtype(left.dtype, np.integer)
    return np.asarray(np.trunc(left / right).astype(left.dtype) if whole else left / right)


def _cast(given: _Given, attributes: _Attributes) -> np.ndarray:
    return np.asarray(given[0].astype(onnx.helper.tensor_dtype_to_np_dtype(attributes["to"])))


def _axes(given: _Given, attributes: _Attributes) -> tuple[int, ...]:
    axes = attributes.get("axes") if len(given) < 2 else given[1]
    return tuple(int(axis) for axis in axes) if axes is not None else ()


def _filled(given: _Given, attributes: _Attributes) -> np.ndarray:
    value = attributes.get("value")
    fill = onnx.numpy_helper.to_array(value) if value is not None else np.zeros(1, np.float32)
    return np.full(given[0].astype(int), fill.reshape(-1)[0], dtype=fill.dtype)


_COMPUTED: Mapping[str, Callable[[_Given, _Attributes], np.ndarray]] = MappingProxyType(
    {
        "Add": lambda given, _: np.asarray(given[0] + given[1]),
        "Cast": _cast,
        "Concat": lambda given, attributes: np.concatenate(given, axis=attributes["axis"]),
        "Constant": lambda _, attributes: onnx.numpy_helper.to_array(attributes["value"]),
        "ConstantOfShape": _filled,
        "Div": _divided,
        "Equal": lambda given, _: np.asarray(given[0] == given[1]),
        "Gather": lambda given, attributes: np.take(given[0], given[1], axis=attributes.get("axis", 0)),
        "Identity": lambda given, _: given[0],
        "Mul": lambda given, _: np.asarray(given[0] * given[1]),
        "Range": lambda given, _: np.arange(*(each.reshape(-1)[0] for each in given)),
        "Reshape": lambda given, _: given[0].reshape([int(size) for size in given[1]]),
        "Slice": _slice,
        "Squeeze": lambda given, attributes: np.squeeze(given[0], _axes(given, attributes) or None),
        "Sub": lambda given, _: np.asarray(given[0] - given[1]),
        "Unsqueeze": lambda given, attributes: np.expand_dims(given[0], _axes(given, attributes)),
        "Where": lambda given, _: np.asarray(np.where(given[0], given[1], given[2])),
    }
)
