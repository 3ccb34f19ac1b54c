"""Pass `fp64`: the model computes in FP32 where it computed in FP64.

- Makes FP32 of every FP64 value, initializer, constant and attribute that names a type, bodies included. FP64 between
  integers, as in shape arithmetic, becomes FP32 too: TensorRT has no FP64.
- Weights are converted when they are read: to nearest even, finite values beyond FP32's range to its largest.
- A graph input or output that must keep its type (``config.keeps_io_type``) keeps FP64, with one Cast behind or before
  it; an FP64 output that is an input or an initializer itself stays as it is, and its readers get the Cast. Casts that
  the model has there already are enough.
- Does not act on complex values, nor on the FP64 tensors of BitCast and of operators of other domains than ONNX's and
  com.microsoft: these get Casts around them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.graph.names import UnusedNames, defined_values, node_names, value_names
from autocast_core.graph.walk import all_graphs, all_nodes
from autocast_core.model.tensors import ConvertedTensor, chunks
from autocast_core.operators import infer_missing_types, with_element_type
from autocast_core.operators.families import TYPE_ATTRIBUTES
from autocast_core.sanitize.change import Change

_DOMAINS = frozenset({"", "ai.onnx.ml", "ai.onnx.preview.training", "com.microsoft"})
"""Domains whose operators take FP32 wherever they take FP64, but for BitCast, which sees the bits."""


def replace_fp64(model: ir.Model, config: ConversionConfig) -> tuple[Change, ...]:
    """Replace FP64 by FP32, but where it must stay; see the module. ModelError where a weight cannot be read."""
    values = [value for graph in all_graphs(model.graph) for value in defined_values(graph)]
    if any(value.type is None and value.name for value in values):
        infer_missing_types(model)
    if not any(map(_is_fp64, values)):
        return ()
    ports = _find_ports(model, config)
    found: Counter[str] = Counter()
    touched: dict[str, None] = {}
    for graph in all_graphs(model.graph):
        for value in defined_values(graph):
            if _is_fp64(value) and id(value) not in ports.staying:
                _convert_value(value, found)
                found["values"] += 1
        for node in graph:
            stays = _is_pinned(node) or any(id(value) in ports.staying for value in node.outputs)
            if not stays and _convert_attributes(node, found):
                touched[str(node.name)] = None
    touched.update(dict.fromkeys(_place_casts(model, ports)))
    if not found["values"] and not touched:
        return ()
    detail = f"{found['values']} FP64 values are FP32 now"
    if ports.staying or ports.outputs:
        detail += f"; {len(ports.staying) + len(ports.outputs)} keep FP64, with Casts where they meet FP32"
    if found["clamped"] or found["underflowed"]:
        detail += (
            f"; of the FP64 constants {found['clamped']} elements were clamped and {found['underflowed']} became 0"
        )
    return (Change("fp64", detail, tuple(touched)),)


@dataclass(frozen=True)
class _Ports:
    """Where FP64 remains: values that stay, kept outputs that get a new Cast, and operands that need FP64."""

    staying: dict[int, ir.Value]
    kept: frozenset[int]
    outputs: tuple[ir.Value, ...]
    operands: tuple[tuple[ir.Node, int], ...]


def _find_ports(model: ir.Model, config: ConversionConfig) -> _Ports:
    interface = {id(value): value for value in (*model.graph.inputs, *model.graph.outputs)}
    kept = [v for v in interface.values() if _is_fp64(v) and config.keeps_io_type(str(v.name))]
    sources = [v for v in kept if v.producer() is None or _is_cast(v.producer())]
    operands = []
    for node in all_nodes(model.graph):
        if _is_pinned(node):
            sources += [value for value in node.outputs if _is_fp64(value)]
            operands += [(node, i) for i, value in enumerate(node.inputs) if value is not None and _is_fp64(value)]
    sources += [v for v in (node.inputs[i] for node, i in operands) if v is not None and _is_constant_of_pinned(v)]
    staying = {id(value): value for value in sources if isinstance(value.type, ir.TensorType)}
    return _Ports(
        staying,
        frozenset(id(value) for value in kept),
        tuple(value for value in kept if id(value) not in staying),
        tuple((node, i) for node, i in operands if id(node.inputs[i]) not in staying),
    )


def _is_cast(node: ir.Node | None) -> bool:
    return node is not None and node.domain == "" and node.op_type == "Cast"


def _is_pinned(node: ir.Node) -> bool:
    return node.domain not in _DOMAINS or (node.domain == "" and node.op_type == "BitCast")


def _is_fp64(value: ir.Value) -> bool:
    return value.dtype == ir.DataType.DOUBLE


def _is_constant_of_pinned(value: ir.Value) -> bool:
    node = value.producer()
    constant = value.is_initializer() if node is None else node.op_type == "Constant" and node.domain == ""
    outside = value.is_graph_input() or value.is_graph_output()
    return constant and not outside and all(_is_pinned(reader) for reader, _ in value.uses())


def _convert_value(value: ir.Value, found: Counter[str]) -> None:
    if value.type is not None:
        value.type = with_element_type(value.type, ir.DataType.FLOAT)
    if value.const_value is not None and value.const_value.dtype == ir.DataType.DOUBLE:
        value.const_value = _fp32_tensor(value.const_value, found)


def _fp32_tensor(tensor: ir.TensorProtocol, found: Counter[str]) -> ir.TensorProtocol:
    largest, smallest = np.finfo(np.float32).max, np.finfo(np.float32).smallest_subnormal
    for block in chunks(tensor):
        size = np.abs(block)
        found["clamped"] += int(np.count_nonzero(np.isfinite(size) & (size > largest)))
        found["underflowed"] += int(np.count_nonzero((size > 0) & (size <= float(smallest) / 2)))
    return ConvertedTensor(tensor, ir.DataType.FLOAT)


def _convert_attributes(node: ir.Node, found: Counter[str]) -> bool:
    converted = [new for attribute in node.attributes.values() if (new := _converted(node, attribute, found))]
    for attribute in converted:
        node.attributes[attribute.name] = attribute
    return bool(converted)


def _converted(node: ir.Node, attribute: ir.Attr, found: Counter[str]) -> ir.Attr | None:
    """The attribute with FP32 in the place of FP64, None where it has no FP64."""
    name, doc_string = attribute.name, attribute.doc_string
    if attribute.is_ref():
        return None
    if attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype == ir.DataType.DOUBLE:
        return ir.AttrTensor(name, _fp32_tensor(attribute.as_tensor(), found), doc_string=doc_string)
    if attribute.type == ir.AttributeType.INT and node.domain == "" and name in TYPE_ATTRIBUTES:
        is_fp64 = attribute.as_int() == ir.DataType.DOUBLE
        return ir.AttrInt64(name, int(ir.DataType.FLOAT), doc_string=doc_string) if is_fp64 else None
    if attribute.type == ir.AttributeType.TYPE_PROTO:
        given = attribute.value
        if given.type is not None and given.type.dtype == ir.DataType.DOUBLE:
            kind = with_element_type(given.type, ir.DataType.FLOAT)
            return ir.AttrTypeProto(name, ir.TypeAndShape(kind, given.shape), doc_string=doc_string)
    return None


def _place_casts(model: ir.Model, ports: _Ports) -> Iterator[str]:
    """Puts a Cast wherever FP64 that stays meets FP32; yields the Casts' names."""
    values, nodes = UnusedNames(value_names(model)), UnusedNames(node_names(model))

    def cast(source: ir.Value, dtype: ir.DataType, output: str) -> ir.Node:
        node = ir.Node(
            "",
            "Cast",
            [source],
            [ir.AttrInt64("to", int(dtype))],
            num_outputs=1,
            name=nodes.fresh(f"{source.name}_Cast"),
        )
        node.outputs[0].name = output
        node.outputs[0].type = ir.TensorType(dtype)
        node.outputs[0].shape = source.shape
        return node

    for value in ports.staying.values():
        readers = [use for use in value.uses() if not _is_cast(use.node) and not _is_pinned(use.node)]
        leaves = value.is_graph_output() and id(value) not in ports.kept
        if readers or leaves:
            name = values.fresh(f"{value.name}_fp32")
            node = cast(value, ir.DataType.FLOAT, name)
            for reader, index in readers:
                reader.replace_input_with(index, node.outputs[0])
            _insert_behind(value, node)
            if leaves:
                _take_place_as_output(value, node.outputs[0])
            yield str(node.name)
    for value in ports.outputs:
        node = cast(value, ir.DataType.DOUBLE, values.fresh(f"{value.name}_fp64"))
        model.graph.append(node)
        _take_place_as_output(value, node.outputs[0])
        yield str(node.name)
    for reader, index in ports.operands:
        source = reader.inputs[index]
        assert source is not None and reader.graph is not None
        node = cast(source, ir.DataType.DOUBLE, values.fresh(f"{source.name}_fp64"))
        reader.graph.insert_before(reader, node)
        reader.replace_input_with(index, node.outputs[0])
        yield str(node.name)


def _take_place_as_output(value: ir.Value, replacement: ir.Value) -> None:
    """The graph gives out `replacement`, with the name and description of `value`, which gets another name."""
    graph = value.graph
    assert isinstance(graph, ir.Graph)
    for position, output in enumerate(graph.outputs):
        if output is value:
            graph.outputs[position] = replacement
    name, value.name = value.name, replacement.name
    replacement.name = name
    replacement.doc_string, value.doc_string = value.doc_string, None
    replacement.metadata_props.update(value.metadata_props)
    value.metadata_props.clear()


def _insert_behind(value: ir.Value, node: ir.Node) -> None:
    producer, graph = value.producer(), value.graph
    assert isinstance(graph, ir.Graph)
    if producer is not None:
        graph.insert_after(producer, node)
    elif len(graph):
        graph.insert_before(graph[0], node)
    else:
        graph.append(node)
