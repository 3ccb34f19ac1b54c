"""Between protobuf and onnx_ir, with what onnx_ir cannot hold carried along or made dense.

onnx_ir 1.1 has no sparse tensors (they become dense), no map types and no training information (they are kept as
bytes in the graph's `meta`, which copies of the graph share, and put back when it is written).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from graphlib import CycleError, TopologicalSorter

import google.protobuf.message
import numpy as np
import onnx
import onnx.numpy_helper
import onnx.shape_inference
import onnx_ir as ir

from autocast_core.errors import AutocastError, ModelError, came_of
from autocast_core.graph.annotations import (
    map_types,
    set_has_quantization_annotations,
    set_map_types,
    set_training_info,
    training_info,
)
from autocast_core.graph.walk import note_flat
from autocast_core.model.protobuf.attributes import check_attributes
from autocast_core.model.protobuf.bodies import check_bodies
from autocast_core.model.protobuf.encode import encode, encode_for_runtime, encode_undeclared
from autocast_core.model.protobuf.proto_nodes import proto_bodies, proto_nodes
from autocast_core.model.protobuf.scopes import check_scopes
from autocast_core.operators.families import CONTROL_FLOW
from autocast_core.text import one_line

logger = logging.getLogger(__name__)
# What it warns about is raised as a ModelError.
logging.getLogger(ir.serde.__name__).addHandler(logging.NullHandler())

_DENSE_LIMIT = 1 << 31
_ANY_DENSE = 1 << 20
_SPARSEST = 10_000
"""Larger tensors than _ANY_DENSE have at least one value in so many elements: a few bytes must not become gigabytes."""
_LONGEST_MESSAGE = 300


def _origin(error: BaseException) -> str:
    """What went wrong first, on one line."""
    *_, first = came_of(error)
    return one_line(first, _LONGEST_MESSAGE)


def parse(data: bytes, label: str) -> onnx.ModelProto:
    """The model in `data`, with types inferred where inference works. ModelError where it is not an ONNX model."""
    try:
        proto: onnx.ModelProto = onnx.ModelProto.FromString(data)
    except (google.protobuf.message.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise ModelError(f"{label}: truncated or damaged: {_origin(error)}: fetch or export it again") from error
    if not proto.HasField("graph") or not (proto.graph.node or proto.graph.output):
        raise ModelError(f"{label}: not an ONNX model, it holds no graph: give an .onnx file")
    if not proto.opset_import:
        raise ModelError(f"{label}: the model names no opset: export it again")
    _refuse_recursion(proto, label)
    return proto


def infer_types(proto: onnx.ModelProto, label: str) -> onnx.ModelProto:
    """`proto` with types and shapes inferred, or as it is where inference fails."""
    try:
        return onnx.shape_inference.infer_shapes(proto, data_prop=True)
    except Exception as error:  # the C++ side raises many kinds, and a model without inferred types is still a model
        logger.info("%s: types and shapes could not be inferred: %s", label, _origin(error))
        return proto


def deserialize(proto: onnx.ModelProto, label: str) -> ir.Model:
    """`proto` (which may be changed) as onnx_ir. ModelError where its content contradicts itself."""
    opset = next((each.version for each in proto.opset_import if each.domain in ("", "ai.onnx")), 1)
    graphs = list(_graphs(proto.graph))
    for graph in graphs:
        check_bodies(graph.node, opset, label)
        check_attributes(graph.node, label)
        _refuse_duplicates(graph, label)
        _make_dense(graph, label)
    for function in proto.functions:
        check_bodies(proto_nodes(function.node), opset, label)
    _declare_passed_outputs(proto.graph)
    if len(graphs) > 1:
        check_scopes(proto.graph, label)
    maps = _take_map_types(proto.graph)
    annotated = any(graph.quantization_annotation for graph in graphs)
    try:
        model = ir.serde.deserialize_model(proto)
    except (RecursionError, MemoryError):
        raise ModelError(f"{label}: nested too deeply to be converted: flatten its bodies") from None
    except Exception as error:
        raise ModelError(f"{label}: not a valid ONNX model: {_origin(error)}: export it again") from error
    set_has_quantization_annotations(model.graph, annotated)
    note_flat(model)
    if maps:
        set_map_types(model.graph, maps)
    if proto.training_info:
        set_training_info(model.graph, tuple(info.SerializeToString() for info in proto.training_info))
    return model


def _refuse_duplicates(graph: onnx.GraphProto, label: str) -> None:
    """ModelError where two initializers have one name: runtimes read different ones."""
    names = [tensor.name for tensor in graph.initializer]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ModelError(f"{label}: two initializers of graph {graph.name!r} are named {twice!r}: rename or remove one")


def serialize(model: ir.Model) -> onnx.ModelProto:
    """`model` as protobuf, with what `deserialize` kept aside put back; external tensors stay references.

    ModelError where the model holds what ONNX cannot.
    """
    return _with_what_was_kept(model, encode)


def serialize_for_runtime(model: ir.Model) -> onnx.ModelProto:
    """See encode_for_runtime. ModelError as `serialize`."""
    return _with_what_was_kept(model, encode_for_runtime)


def _with_what_was_kept(model: ir.Model, encoded_by: Callable[[ir.Model], onnx.ModelProto]) -> onnx.ModelProto:
    with _holding_what_onnx_can():
        proto = encoded_by(model)
    for info in training_info(model.graph):
        proto.training_info.add().ParseFromString(info)
    maps = map_types(model.graph)
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info) if maps else ():
        if value.name in maps:
            value.type.ParseFromString(maps[value.name])
    return proto


def serialize_undeclared(model: ir.Model, large_bytes: int) -> onnx.ModelProto:
    """See encode_undeclared. ModelError as `serialize`."""
    with _holding_what_onnx_can():
        return encode_undeclared(model, large_bytes)


@contextmanager
def _holding_what_onnx_can() -> Iterator[None]:
    try:
        yield
    except AutocastError:
        raise
    except (ir.serde.SerdeError, TypeError, ValueError) as error:
        raise ModelError(f"not a valid ONNX model: {_origin(error)}: export it again") from error


def _refuse_recursion(proto: onnx.ModelProto, label: str) -> None:
    """ModelError where a model-local function calls itself: type inference would never end."""
    names = {(function.domain, function.name) for function in proto.functions}
    calls = {
        (function.domain, function.name): {(node.domain, node.op_type) for node in proto_nodes(function.node)} & names
        for function in proto.functions
    }
    try:
        TopologicalSorter(calls).prepare()
    except CycleError as error:
        domain, name = min(error.args[1])
        raise ModelError(
            f"{label}: function {domain}:{name} calls itself, which ONNX does not allow: export the model again"
        ) from error


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        if node.op_type in CONTROL_FLOW:
            for body in proto_bodies(node):
                yield from _graphs(body)


def _make_dense(graph: onnx.GraphProto, label: str) -> None:
    """Put dense tensors in the place of the sparse initializers and sparse Constants of `graph` itself."""
    for sparse in graph.sparse_initializer:
        graph.initializer.append(_dense(sparse, label))
    del graph.sparse_initializer[:]
    for node in graph.node:
        if node.op_type == "Constant" and len(node.attribute) == 1 and node.attribute[0].name == "sparse_value":
            dense = _dense(node.attribute[0].sparse_tensor, label)
            del node.attribute[:]
            node.attribute.add(name="value", type=onnx.AttributeProto.TENSOR, t=dense)


def _dense(sparse: onnx.SparseTensorProto, label: str) -> onnx.TensorProto:
    """The dense form of a SparseTensorProto; onnx.proto says how its indices, linear or by axis, are stored."""
    name, dims = sparse.values.name, tuple(sparse.dims)
    try:
        given = math.prod(sparse.values.dims)
        if min(dims, default=0) < 0 or math.prod(dims) > min(_DENSE_LIMIT, max(_ANY_DENSE, _SPARSEST * given)):
            raise ValueError(f"shape {dims} is too large for a dense tensor")
        if onnx.TensorProto.EXTERNAL in (sparse.values.data_location, sparse.indices.data_location):
            raise ValueError("its data are external, which only dense tensors may be")
        values = onnx.numpy_helper.to_array(sparse.values)
        indices = onnx.numpy_helper.to_array(sparse.indices)
        dense = np.zeros(dims, values.dtype)
        dense[np.unravel_index(indices, dims) if indices.ndim == 1 else tuple(indices.T)] = values
        return onnx.numpy_helper.from_array(dense, name)
    except (ValueError, IndexError, TypeError, KeyError) as error:
        raise ModelError(
            f"{label}: sparse tensor {name!r} cannot be read: {_origin(error)}: export the model again"
        ) from error


def _declare_passed_outputs(graph: onnx.GraphProto) -> None:
    """Declare outputs that are inputs as those are declared: onnx_ir has one value for both."""
    inputs = {info.name: info for info in graph.input}
    for info in graph.output:
        if info.name in inputs and info.type != inputs[info.name].type:
            info.type.CopyFrom(inputs[info.name].type)


def _take_map_types(graph: onnx.GraphProto) -> dict[str, bytes]:
    """The types of values that are maps, or sequences of maps, by name; they are cleared in `graph`."""
    taken = {}
    for value in (*graph.input, *graph.output, *graph.value_info):
        inner = value.type
        while inner.WhichOneof("value") in ("sequence_type", "optional_type"):
            inner = getattr(inner, inner.WhichOneof("value")).elem_type
        if inner.HasField("map_type"):
            taken[value.name] = value.type.SerializeToString()
            value.ClearField("type")
    return taken
