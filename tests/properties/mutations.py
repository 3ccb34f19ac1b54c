"""Changes to ONNX models that keep the protobuf whole: what exporters and editors of graphs get wrong, and more."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import onnx
from onnx import TensorProto, helper

DIMENSIONS = (0, 1, 2, 3, 4, 7, -1, "b", "other", None)
TYPES = (0, 1, 1, 2, 3, 6, 7, 7, 8, 9, 10, 11, 16)
OPERATORS = ("Relu", "Neg", "Abs", "Exp", "Sqrt", "Floor", "Shape", "Identity", "NonZero", "Not", "Cos", "IsNaN")
OPERATORS += ("Add", "Mul", "Sub", "Div", "MatMul", "Pow", "Mod", "And", "Greater", "Gather", "Expand", "Reshape")
OPERATORS += ("Where", "Clip", "Concat", "Max", "Gemm", "Conv", "LayerNormalization", "Gelu", "Softmax", "TopK")
OPERATORS += ("Split", "If", "Nothing", "FastGelu", "SimplifiedLayerNormalization", "EfficientNMS_TRT", "RandomNormal")
DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "trt.plugins", "my.ops")
NAMES = ("", "x", "y", "w", "h", "new")

Mutation = Callable[[random.Random, onnx.ModelProto], None]


def mutated(model: bytes, chance: random.Random) -> bytes:
    """The serialised model after one to three of MUTATIONS."""
    proto = onnx.ModelProto.FromString(model)
    for _ in range(chance.choice((1, 1, 2, 3))):
        chance.choice(MUTATIONS)(chance, proto)
    return proto.SerializeToString()


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def _graph(chance: random.Random, model: onnx.ModelProto) -> onnx.GraphProto:
    return chance.choice(list(_graphs(model.graph)))


def _node(chance: random.Random, model: onnx.ModelProto) -> onnx.NodeProto:
    nodes = [node for graph in _graphs(model.graph) for node in graph.node]
    return chance.choice(nodes) if nodes else onnx.NodeProto()


def _value(chance: random.Random, model: onnx.ModelProto) -> onnx.ValueInfoProto:
    graph = _graph(chance, model)
    values = [*graph.input, *graph.output, *graph.value_info]
    return chance.choice(values) if values else onnx.ValueInfoProto()


def _names(model: onnx.ModelProto) -> list[str]:
    found = [name for graph in _graphs(model.graph) for node in graph.node for name in (*node.input, *node.output)]
    return [name for name in found if name] or ["x"]


def _shape(chance: random.Random) -> list[int | str | None]:
    return [chance.choice(DIMENSIONS) for _ in range(chance.randrange(4))]


def _info(chance: random.Random, name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, chance.choice(TYPES), chance.choice((None, _shape(chance))))


def another_dimension(chance: random.Random, model: onnx.ModelProto) -> None:
    tensor = _value(chance, model).type.tensor_type
    if tensor.shape.dim:
        dim, length = chance.choice(tensor.shape.dim), chance.choice(DIMENSIONS)
        dim.Clear()
        if isinstance(length, int):
            dim.dim_value = length
        elif length is not None:
            dim.dim_param = length


def another_rank(chance: random.Random, model: onnx.ModelProto) -> None:
    tensor = _value(chance, model).type.tensor_type
    if chance.random() < 0.3:
        tensor.ClearField("shape")
    elif tensor.shape.dim and chance.random() < 0.5:
        del tensor.shape.dim[-1]
    else:
        tensor.shape.dim.add(dim_value=chance.randrange(4))


def another_type(chance: random.Random, model: onnx.ModelProto) -> None:
    value = _value(chance, model)
    if chance.random() < 0.3:
        value.ClearField("type")
    else:
        value.type.tensor_type.elem_type = chance.choice(TYPES)


def a_declared_inner_value(chance: random.Random, model: onnx.ModelProto) -> None:
    _graph(chance, model).value_info.append(_info(chance, chance.choice(_names(model))))


def another_operator(chance: random.Random, model: onnx.ModelProto) -> None:
    _node(chance, model).op_type = chance.choice(OPERATORS)


def another_domain(chance: random.Random, model: onnx.ModelProto) -> None:
    _node(chance, model).domain = chance.choice(DOMAINS)


def another_input(chance: random.Random, model: onnx.ModelProto) -> None:
    node = _node(chance, model)
    if node.input:
        node.input[chance.randrange(len(node.input))] = chance.choice(("", *_names(model)))


def more_or_fewer_operands(chance: random.Random, model: onnx.ModelProto) -> None:
    node = _node(chance, model)
    operands = chance.choice((node.input, node.output))
    if operands and chance.random() < 0.5:
        del operands[-1]
    else:
        operands.append(chance.choice(("", "extra", *_names(model))))


def another_output_name(chance: random.Random, model: onnx.ModelProto) -> None:
    node = _node(chance, model)
    if node.output:
        node.output[0] = chance.choice((*NAMES, *_names(model)))


def nodes_in_another_order(chance: random.Random, model: onnx.ModelProto) -> None:
    graph = _graph(chance, model)
    nodes = list(graph.node)
    chance.shuffle(nodes)
    del graph.node[:]
    graph.node.extend(nodes)


def a_node_less_or_twice(chance: random.Random, model: onnx.ModelProto) -> None:
    graph = _graph(chance, model)
    if not graph.node:
        return
    index = chance.randrange(len(graph.node))
    if chance.random() < 0.5:
        del graph.node[index]
    else:
        graph.node.add().CopyFrom(graph.node[index])
        if chance.random() < 0.7 and graph.node[-1].output:
            graph.node[-1].output[0] = "twice"


def another_output(chance: random.Random, model: onnx.ModelProto) -> None:
    graph = _graph(chance, model)
    known = [*graph.input, *graph.output]
    if known and chance.random() < 0.5:
        graph.output.add().CopyFrom(chance.choice(known))
    elif len(graph.output) > 1 and chance.random() < 0.5:
        del graph.output[-1]
    else:
        graph.output.append(_info(chance, chance.choice(("unmade", *_names(model)))))


def another_graph_input(chance: random.Random, model: onnx.ModelProto) -> None:
    graph = _graph(chance, model)
    names = [tensor.name for tensor in graph.initializer] or ["unused"]
    graph.input.append(_info(chance, chance.choice(("unused", *names))))


def another_initializer(chance: random.Random, model: onnx.ModelProto) -> None:
    graph = _graph(chance, model)
    if graph.initializer and chance.random() < 0.5:
        tensor = chance.choice(graph.initializer)
        change = chance.randrange(4)
        if change == 0:
            graph.initializer.remove(tensor)
        elif change == 1:
            tensor.data_type = chance.choice(TYPES)
        elif change == 2:
            tensor.name = chance.choice((*NAMES, *_names(model)))
        elif tensor.dims:
            tensor.dims[0] = chance.randrange(5)
        return
    values = [chance.choice((0.0, 1.0, -2.5, 1e6, 1e-9, float("nan"), float("inf"))) for _ in range(4)]
    name = chance.choice(("new", *_names(model)))
    graph.initializer.append(helper.make_tensor(name, TensorProto.FLOAT, [4], values))


def another_attribute(chance: random.Random, model: onnx.ModelProto) -> None:
    node = _node(chance, model)
    plain = [attribute for attribute in node.attribute if not attribute.HasField("g")]
    if not plain or chance.random() < 0.3:
        name = chance.choice(("axis", "to", "perm", "axes", "keepdims", "dtype", "value_float", "alpha", "unknown"))
        value = chance.choice((0, 1, -1, 10, 16, 1.5, [0, 1], "text"))
        node.attribute.append(helper.make_attribute(name, value))
        return
    attribute = chance.choice(plain)
    if chance.random() < 0.4:
        node.attribute.remove(attribute)
    elif attribute.type == onnx.AttributeProto.INT:
        attribute.i = chance.choice((-3, -1, 0, 1, 2, 7, 10, 11, 16))
    elif attribute.ints:
        attribute.ints[0] = chance.choice((-1, 0, 1, 5))
    else:
        attribute.type = chance.choice((1, 2, 3, 7))


def another_opset(chance: random.Random, model: onnx.ModelProto) -> None:
    entry = chance.choice(model.opset_import) if model.opset_import else model.opset_import.add()
    entry.version = chance.choice((1, 7, 9, 11, 12, 13, 14, 15, 16, 18, 20, 21, 22, 23, 24, 99))


def another_import(chance: random.Random, model: onnx.ModelProto) -> None:
    if model.opset_import and chance.random() < 0.3:
        del model.opset_import[-1]
    else:
        model.opset_import.append(helper.make_opsetid(chance.choice(DOMAINS), chance.choice((1, 2, 3, 5, 17))))


def another_name(chance: random.Random, model: onnx.ModelProto) -> None:
    owner = chance.choice((_graph(chance, model), _node(chance, model), _value(chance, model)))
    owner.name = chance.choice((*NAMES, *_names(model)))


def another_ir_version(chance: random.Random, model: onnx.ModelProto) -> None:
    model.ir_version = chance.choice((1, 3, 4, 6, 7, 9, 10, 11, 12, 13, 99))


def a_node_in_between(chance: random.Random, model: onnx.ModelProto) -> None:
    """An Identity, a Cast to another type or a movement before an input of a node."""
    graph = _graph(chance, model)
    readers = [node for node in graph.node if node.input and node.input[0]]
    if not readers:
        return
    reader = chance.choice(readers)
    name, attributes = chance.choice(
        (("Identity", {}), ("Cast", {"to": chance.choice(TYPES[1:])}), ("Transpose", {}), ("Neg", {}), ("Sqrt", {}))
    )
    made = helper.make_node(name, [reader.input[0]], [f"between{len(graph.node)}"], **attributes)
    index = list(graph.node).index(reader)
    reader.input[0] = made.output[0]
    nodes = [*graph.node]
    nodes.insert(index, made)
    del graph.node[:]
    graph.node.extend(nodes)


MUTATIONS: tuple[Mutation, ...] = (
    another_dimension,
    another_rank,
    another_type,
    a_declared_inner_value,
    another_operator,
    another_domain,
    another_input,
    more_or_fewer_operands,
    another_output_name,
    nodes_in_another_order,
    a_node_less_or_twice,
    another_output,
    another_graph_input,
    another_initializer,
    another_attribute,
    another_opset,
    another_import,
    another_name,
    another_ir_version,
    *(2 * [a_node_in_between]),  # drawn twice as often as each of the others
)
