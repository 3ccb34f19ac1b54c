"""Puts FP32 in the place of other float types in a whole model, as the passes `fp64` and `widen` do.

- Makes FP32 of every value, initializer, constant and attribute of those types, bodies included.
- Weights are converted when they are read: FP64 to nearest even, finite values beyond FP32's range to its largest; 16
  bits exactly.
- A graph input or output that must keep its type does, with one Cast behind or before it; an output that is an input or
  an initializer itself stays as it is, and its readers get the Cast. Casts that the model has there already are enough.
- Does not act on complex values, nor on the tensors of BitCast and of operators of other domains than ONNX's and
  com.microsoft: these get Casts around them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from autocast_core.graph.names import UnusedNames, defined_values, node_names, value_names
from autocast_core.graph.walk import all_graphs, all_nodes
from autocast_core.model.tensors import ConvertedTensor, chunks
from autocast_core.operators import infer_missing_types, with_element_type
from autocast_core.operators.families import TYPE_ATTRIBUTES

_DOMAINS = frozenset({"", "ai.onnx.ml", "ai.onnx.preview.training", "com.microsoft"})
"""Domains whose operators take FP32 wherever they take another float type, but for BitCast, which sees the bits."""

_SUFFIX: Mapping[ir.DataType, str] = MappingProxyType(
    {ir.DataType.DOUBLE: "fp64", ir.DataType.FLOAT16: "fp16", ir.DataType.BFLOAT16: "bf16"}
)


@dataclass(frozen=True)
class Replaced:
    """What was done: how many `values` are FP32 now, how many ports and operands are `left` as they were, how many
    elements of constants were `clamped` and how many became 0 (`underflowed`), and the names of the `nodes` touched."""

    values: int
    left: int
    clamped: int
    underflowed: int
    nodes: tuple[str, ...]


def replace_floats(
    model: ir.Model, types: Collection[ir.DataType], keeps_io_type: Callable[[str], bool]
) -> Replaced | None:
    """Put FP32 in the place of the float `types`, but where they must stay; see the module.

    `keeps_io_type` says whether the graph input or output of a name keeps its type. None where the model holds none of
    the types, or nothing is to be done. ModelError where a weight cannot be read.
    """
    values = [value for graph in all_graphs(model.graph) for value in defined_values(graph)]
    if any(value.type is None and value.name for value in values):
        infer_missing_types(model)
    if not any(value.dtype in types for value in values):
        return None
    return _Replacement(model, frozenset(types), keeps_io_type).run()


@dataclass(frozen=True)
class _Ports:
    """Where a type remains: values that stay, kept outputs that get a new Cast, and operands that need the type."""

    staying: dict[int, ir.Value]
    kept: frozenset[int]
    outputs: tuple[ir.Value, ...]
    operands: tuple[tuple[ir.Node, int, ir.DataType], ...]


class _Replacement:
    """One replacement of `types` in a model, in place."""

    def __init__(self, model: ir.Model, types: frozenset[ir.DataType], keeps_io_type: Callable[[str], bool]) -> None:
        self._model, self._types, self._keeps_io_type = model, types, keeps_io_type
        self._found: Counter[str] = Counter()

    def run(self) -> Replaced | None:
        """Replace, and say what was done; None where that was nothing."""
        types = {value: value.dtype for graph in all_graphs(self._model.graph) for value in defined_values(graph)}
        ports = self._find_ports()
        touched: dict[str, None] = {}
        for graph in all_graphs(self._model.graph):
            for value in defined_values(graph):
                if self._is_replaced(value) and id(value) not in ports.staying:
                    self._convert_value(value)
                    self._found["values"] += 1
            for node in graph:
                stays = is_pinned(node) or any(id(value) in ports.staying for value in node.outputs)
                if not stays and self._convert_attributes(node):
                    touched[str(node.name)] = None
        touched.update(dict.fromkeys(_Casts(self._model).place(ports, types)))
        if not self._found["values"] and not touched:
            return None
        left = len(ports.staying) + len(ports.outputs)
        found = self._found
        return Replaced(found["values"], left, found["clamped"], found["underflowed"], tuple(touched))

    def _is_replaced(self, value: ir.Value) -> bool:
        return value.dtype in self._types

    def _find_ports(self) -> _Ports:
        graph = self._model.graph
        interface = {id(value): value for value in (*graph.inputs, *graph.outputs)}
        kept = [v for v in interface.values() if self._is_replaced(v) and self._keeps_io_type(str(v.name))]
        sources = [v for v in kept if v.producer() is None or _is_cast(v.producer())]
        operands: list[tuple[ir.Node, int, ir.Value]] = []
        for node in all_nodes(graph):
            if is_pinned(node):
                sources += [value for value in node.outputs if self._is_replaced(value)]
                read = ((node, i, v) for i, v in enumerate(node.inputs) if v is not None and self._is_replaced(v))
                operands += read
        sources += [value for _, _, value in operands if _is_constant_of_pinned(value)]
        staying = {id(value): value for value in sources if isinstance(value.type, ir.TensorType)}
        return _Ports(
            staying,
            frozenset(id(value) for value in kept),
            tuple(value for value in kept if id(value) not in staying),
            tuple((node, i, v.dtype) for node, i, v in operands if id(v) not in staying and v.dtype is not None),
        )

    def _convert_value(self, value: ir.Value) -> None:
        if value.type is not None:
            value.type = with_element_type(value.type, ir.DataType.FLOAT)
        if value.const_value is not None and value.const_value.dtype in self._types:
            value.const_value = self._fp32_tensor(value.const_value)

    def _fp32_tensor(self, tensor: ir.TensorProtocol) -> ir.TensorProtocol:
        if tensor.dtype == ir.DataType.DOUBLE:  # FP32 holds every number of 16 bits
            largest, smallest = np.finfo(np.float32).max, np.finfo(np.float32).smallest_subnormal
            for block in chunks(tensor):
                size = np.abs(block)
                self._found["clamped"] += int(np.count_nonzero(np.isfinite(size) & (size > largest)))
                self._found["underflowed"] += int(np.count_nonzero((size > 0) & (size <= float(smallest) / 2)))
        return ConvertedTensor(tensor, ir.DataType.FLOAT)

    def _convert_attributes(self, node: ir.Node) -> bool:
        converted = [new for attribute in node.attributes.values() if (new := self._converted(node, attribute))]
        for attribute in converted:
            node.attributes[attribute.name] = attribute
        return bool(converted)

    def _converted(self, node: ir.Node, attribute: ir.Attr) -> ir.Attr | None:
        """The attribute with FP32 in the place of another type, None where it has none to replace."""
        name, doc_string = attribute.name, attribute.doc_string
        if attribute.is_ref():
            return None
        if attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype in self._types:
            return ir.AttrTensor(name, self._fp32_tensor(attribute.as_tensor()), doc_string=doc_string)
        if attribute.type == ir.AttributeType.INT and node.domain == "" and name in TYPE_ATTRIBUTES:
            replaced = attribute.as_int() in self._numbers
            return ir.AttrInt64(name, int(ir.DataType.FLOAT), doc_string=doc_string) if replaced else None
        if attribute.type == ir.AttributeType.TYPE_PROTO:
            given = attribute.value
            if given.type is not None and given.type.dtype in self._types:
                kind = with_element_type(given.type, ir.DataType.FLOAT)
                return ir.AttrTypeProto(name, ir.TypeAndShape(kind, given.shape), doc_string=doc_string)
        return None

    @cached_property
    def _numbers(self) -> frozenset[int]:
        return frozenset(int(dtype) for dtype in self._types)


def _is_cast(node: ir.Node | None) -> bool:
    return node is not None and node.domain == "" and node.op_type == "Cast"


def is_pinned(node: ir.Node) -> bool:
    """Whether the node's operands keep their types: BitCast, and operators of other domains."""
    return node.domain not in _DOMAINS or (node.domain == "" and node.op_type == "BitCast")


def _is_constant_of_pinned(value: ir.Value) -> bool:
    node = value.producer()
    constant = value.is_initializer() if node is None else node.op_type == "Constant" and node.domain == ""
    outside = value.is_graph_input() or value.is_graph_output()
    return constant and not outside and all(is_pinned(reader) for reader, _ in value.uses())


class _Casts:
    """Puts a Cast wherever a type that stays meets FP32."""

    def __init__(self, model: ir.Model) -> None:
        self._graph = model.graph
        self._values, self._nodes = UnusedNames(value_names(model)), UnusedNames(node_names(model))

    def place(self, ports: _Ports, types: Mapping[ir.Value, ir.DataType | None]) -> Iterator[str]:
        """Insert them; yields their names. `types` are those of values before the replacement."""
        for value in ports.staying.values():
            yield from self._behind(value, ports)
        for value in ports.outputs:
            dtype = types[value]
            assert dtype is not None
            node = self._cast(value, dtype)
            self._graph.append(node)
            take_place_as_output(value, node.outputs[0])
            yield str(node.name)
        for reader, index, dtype in ports.operands:
            source = reader.inputs[index]
            assert source is not None and reader.graph is not None
            node = self._cast(source, dtype)
            reader.graph.insert_before(reader, node)
            reader.replace_input_with(index, node.outputs[0])
            yield str(node.name)

    def _behind(self, value: ir.Value, ports: _Ports) -> Iterator[str]:
        readers = [use for use in value.uses() if not _is_cast(use.node) and not is_pinned(use.node)]
        leaves = value.is_graph_output() and id(value) not in ports.kept
        if not readers and not leaves:
            return
        node = self._cast(value, ir.DataType.FLOAT)
        for reader, index in readers:
            reader.replace_input_with(index, node.outputs[0])
        _insert_behind(value, node)
        if leaves:
            take_place_as_output(value, node.outputs[0])
        yield str(node.name)

    def _cast(self, source: ir.Value, dtype: ir.DataType) -> ir.Node:
        name = self._nodes.fresh(f"{source.name}_Cast")
        node = ir.Node("", "Cast", [source], [ir.AttrInt64("to", int(dtype))], num_outputs=1, name=name)
        node.outputs[0].name = self._values.fresh(f"{source.name}_{_SUFFIX.get(dtype, 'fp32')}")
        node.outputs[0].type = ir.TensorType(dtype)
        node.outputs[0].shape = source.shape
        return node


def take_place_as_output(value: ir.Value, replacement: ir.Value) -> None:
    """The graph gives out `replacement`, with the name, shape and description of `value`, which gets another name."""
    graph = value.graph
    assert isinstance(graph, ir.Graph)
    for position, output in enumerate(graph.outputs):
        if output is value:
            graph.outputs[position] = replacement
    name, value.name = value.name, replacement.name
    replacement.name = name
    replacement.shape = value.shape if value.shape is not None else replacement.shape
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
