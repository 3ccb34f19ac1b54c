"""Pass `fp64`: the model computes in FP32 where it computed in FP64."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.model.tensors import ConvertedTensor, chunks
from autocast_core.sanitize.change import Change
from autocast_core.sanitize.graphs import Names, defined_values, graphs_of, node_names, value_names
from autocast_core.schemas import with_element_type

_DTYPE_ATTRIBUTES = frozenset({"to", "dtype", "output_dtype", "output_datatype"})
"""Integer attributes of ai.onnx operators that name an element type."""


def replace_fp64(model: ir.Model, config: ConversionConfig) -> tuple[Change, ...]:
    """Makes FP32 of every FP64 value, initializer, constant and dtype attribute, bodies included.

    Weights are converted when they are read: to nearest even, finite values beyond FP32's range to its largest. A graph
    input or output that must keep its type (``config.keeps_io_type``) keeps FP64, with one Cast behind or before it; an
    FP64 output that is an input or an initializer itself stays what it is, and its readers get the Cast.

    Does not act on complex values, nor on integer attributes of operators outside the default domain.
    FP64 between integers, as in shape arithmetic, becomes FP32 too: TensorRT has no FP64.
    """
    kept = [value for value in _interface(model.graph) if _is_fp64(value) and config.keeps_io_type(str(value.name))]
    kept_ids = {id(value) for value in kept}
    found: Counter[str] = Counter()
    loss: Counter[str] = Counter()
    touched: list[str] = []
    for graph in graphs_of(model):
        for value in defined_values(graph):
            if id(value) in kept_ids and (value.producer() is None or _is_cast(value.producer())):
                continue
            if _is_fp64(value):
                _convert_value(value, loss)
                found["values"] += 1
        for node in graph:
            makes_kept = _is_cast(node) and id(node.outputs[0]) in kept_ids
            changed = 0 if makes_kept else _convert_attributes(node, loss)
            found["attributes"] += changed
            if changed or any(id(value) in kept_ids for value in (*node.inputs, *node.outputs)):
                touched.append(str(node.name))
    if kept:
        _cast_at_boundary(model, kept)
    if not found["values"] and not found["attributes"] and not kept:
        return ()
    detail = f"{found['values']} FP64 values are FP32 now"
    if kept:
        detail += f"; {len(kept)} inputs and outputs keep FP64 with a Cast each"
    if loss["clamped"] or loss["underflowed"]:
        detail += f"; of the FP64 constants {loss['clamped']} elements were clamped and {loss['underflowed']} became 0"
    return (Change("fp64", detail, tuple(touched)),)


def _interface(graph: ir.Graph) -> list[ir.Value]:
    """Inputs and outputs, each once."""
    return list({id(value): value for value in (*graph.inputs, *graph.outputs)}.values())


def _is_cast(node: ir.Node | None) -> bool:
    return node is not None and node.domain == "" and node.op_type == "Cast"


def _is_fp64(value: ir.Value) -> bool:
    return value.dtype == ir.DataType.DOUBLE


def _convert_value(value: ir.Value, loss: Counter[str]) -> None:
    if value.type is not None:
        value.type = with_element_type(value.type, ir.DataType.FLOAT)
    if value.const_value is not None and value.const_value.dtype == ir.DataType.DOUBLE:
        value.const_value = _fp32_tensor(value.const_value, loss)


def _fp32_tensor(tensor: ir.TensorProtocol, loss: Counter[str]) -> ir.TensorProtocol:
    largest, smallest = np.finfo(np.float32).max, np.finfo(np.float32).smallest_subnormal
    for block in chunks(tensor):
        size = np.abs(block)
        loss["clamped"] += int(np.count_nonzero(np.isfinite(size) & (size > largest)))
        loss["underflowed"] += int(np.count_nonzero((size > 0) & (size <= float(smallest) / 2)))
    return ConvertedTensor(tensor, ir.DataType.FLOAT)


def _convert_attributes(node: ir.Node, loss: Counter[str]) -> int:
    changed = 0
    for name, attribute in list(node.attributes.items()):
        if attribute.is_ref():
            continue
        new: ir.Attr | None = None
        if attribute.type == ir.AttributeType.TENSOR:
            tensor = attribute.as_tensor()
            if tensor.dtype == ir.DataType.DOUBLE:
                new = ir.AttrTensor(name, _fp32_tensor(tensor, loss), doc_string=attribute.doc_string)
        elif attribute.type == ir.AttributeType.INT:
            if node.domain == "" and name in _DTYPE_ATTRIBUTES and attribute.as_int() == ir.DataType.DOUBLE:
                new = ir.AttrInt64(name, int(ir.DataType.FLOAT), doc_string=attribute.doc_string)
        elif attribute.type == ir.AttributeType.TYPE_PROTO:
            given = attribute.value
            if given.type is not None and given.type.dtype == ir.DataType.DOUBLE:
                kind = with_element_type(given.type, ir.DataType.FLOAT)
                new = ir.AttrTypeProto(name, ir.TypeAndShape(kind, given.shape))
        if new is not None:
            node.attributes[name] = new
            changed += 1
    return changed


def _cast_at_boundary(model: ir.Model, kept: list[ir.Value]) -> None:
    """Puts a Cast between each kept FP64 input or output and the FP32 graph."""
    graph = model.graph
    names, nodes = Names(value_names(model)), Names(node_names(model))
    for value in kept:
        name = str(value.name)
        cast_name = nodes.fresh(f"{name}_Cast")
        if value.producer() is None:
            readers = tuple(use for use in value.uses() if not _is_cast(use.node))
            if not readers:
                continue
            cast = _cast(value, ir.DataType.FLOAT, cast_name, names.fresh(f"{name}_fp32"))
            for reader, index in readers:
                reader.replace_input_with(index, cast.outputs[0])
            _prepend(graph, cast)
        elif not _is_cast(value.producer()):
            value.name = names.fresh(f"{name}_fp32")
            cast = _cast(value, ir.DataType.DOUBLE, cast_name, name)
            _move_description(value, cast.outputs[0])
            graph.append(cast)
            for position, output in enumerate(graph.outputs):
                if output is value:
                    graph.outputs[position] = cast.outputs[0]


def _cast(source: ir.Value, dtype: ir.DataType, name: str, output: str) -> ir.Node:
    node = ir.Node("", "Cast", [source], [ir.AttrInt64("to", int(dtype))], num_outputs=1, name=name)
    node.outputs[0].name = output
    node.outputs[0].type = ir.TensorType(dtype)
    node.outputs[0].shape = source.shape
    return node


def _move_description(source: ir.Value, target: ir.Value) -> None:
    """What the user said of an output stays with the output."""
    target.doc_string, source.doc_string = source.doc_string, None
    target.metadata_props.update(source.metadata_props)
    source.metadata_props.clear()


def _prepend(graph: ir.Graph, node: ir.Node) -> None:
    first = next(iter(graph), None)
    if first is None:
        graph.append(node)
    else:
        graph.insert_before(first, node)
