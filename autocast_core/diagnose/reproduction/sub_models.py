"""Sub-models: the nodes of a model between some of its values, as a model of its own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np
import onnx_ir as ir

from autocast_core.diagnose.matching.operand_likeness import is_constant
from autocast_core.diagnose.matching.segments import reads
from autocast_core.graph.constants import constant_tensor
from autocast_core.graph.walk import all_nodes, main_graph_id
from autocast_core.sanitize.float_types.widen import widen

Arrays = Mapping[str, np.ndarray]


def part_between(model: ir.Model, inputs: Iterable[str], output: str) -> ir.Model:
    """The part of `model` that computes `output` from `inputs`, names of values of its main graph; Constants become
    initializers. ValueError where other values of the model are needed too."""
    graph = ir.convenience.extract(model.graph, list(inputs), [output])
    part = ir.Model(graph.clone(), ir_version=model.ir_version)
    _lift_constants(part.graph)
    _drop_unread(part.graph)
    return part


def inputs_of(model: ir.Model, nodes: Collection[str]) -> tuple[str, ...]:
    """The values that the nodes of the main graph with these ids read of others, constants aside."""
    own = [node for node in model.graph if main_graph_id(node) in nodes]
    found: dict[str, None] = {}
    for node in own:
        for value in reads(node):
            producer = value.producer()
            if not is_constant(value) and producer not in own and value.name:
                found[str(value.name)] = None
    return tuple(found)


def node_count(model: ir.Model) -> int:
    """Nodes of the main graph and its bodies."""
    return sum(1 for _ in all_nodes(model.graph))


def widened(model: ir.Model, types: Collection[ir.DataType]) -> ir.Model:
    """A copy in which FP32 takes the place of the 16-bit `types`: the same nodes without their roundings."""
    copy = model.clone()
    widen(copy, types, lambda name: False)
    return copy


def weights(model: ir.Model) -> dict[str, np.ndarray]:
    """The initializers by name, in memory."""
    return {
        name: value.const_value.numpy()
        for name, value in model.graph.initializers.items()
        if value.const_value is not None and value.const_value.dtype != ir.DataType.STRING
    }


def with_weights(model: ir.Model, arrays: Arrays) -> ir.Model:
    """A copy of `model` with `arrays` in the place of its initializers' values and without stated shapes."""
    copy = model.clone()
    for value in (*copy.graph.inputs, *(v for node in copy.graph for v in node.outputs)):
        dims = None if value.shape is None or value.producer() is not None else [None] * value.shape.rank()
        value.shape = None if dims is None else ir.Shape(dims)
    for name, array in arrays.items():
        value = copy.graph.initializers[name]
        assert value.const_value is not None
        value.const_value = ir.Tensor(np.ascontiguousarray(array), dtype=value.const_value.dtype, name=name)
        value.shape = ir.Shape(array.shape)
    return copy


def _lift_constants(graph: ir.Graph) -> None:
    for node in list(graph):
        value = node.outputs[0] if node.outputs else None
        tensor = None if value is None or node.op_type != "Constant" else constant_tensor(value)
        if value is None or tensor is None or value.is_graph_output():
            continue
        lifted = ir.Value(name=value.name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(tensor.shape.numpy()))
        lifted.const_value = tensor
        for user, index in list(value.uses()):
            user.replace_input_with(index, lifted)
        graph.remove(node, safe=True)
        graph.register_initializer(lifted)


def _drop_unread(graph: ir.Graph) -> None:
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]
