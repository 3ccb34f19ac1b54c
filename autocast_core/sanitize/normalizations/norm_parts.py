"""Normalizations that an exporter took apart: what their matchers share, and the node that takes the parts' place."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import onnx_ir as ir

from autocast_core.graph.annotations import set_replaced_names
from autocast_core.graph.constants import constant_tensor, drop_if_unread, scalar, small_array
from autocast_core.graph.walk import all_graphs, all_nodes
from autocast_core.sanitize.change import Change
from autocast_core.text import how_many


@dataclass(frozen=True)
class NormParts:
    """The operands of the fused node and the nodes it stands for, the last one being `last`."""

    x: ir.Value
    scale: ir.Value
    bias: ir.Value | None
    epsilon: float
    nodes: tuple[ir.Node, ...]
    last: ir.Node


class NoNormError(Exception):
    """The nodes around a Sqrt are not the normalization looked for; never leaves `parts_around`."""


Matcher = Callable[[ir.Node], NormParts]
"""The parts around a Sqrt; raises NoNormError."""


def fuse_norms(model: ir.Model, step: str, op_type: str, match: Matcher) -> tuple[Change, ...]:
    """Put one `op_type` in the place of all parts that `match` finds in the main graph and in bodies, over the last
    axis and with statistics in FP32; the changes of `step`."""
    fused = []
    for graph in all_graphs(model.graph):
        for node in list(graph):
            parts = _parts_around(node, match)
            if parts is not None:
                fused.append(_fuse(graph, parts, op_type))
    return tuple(Change(step, f"fused {how_many(len(nodes), 'node')} into {op_type}", nodes) for nodes in fused)


def has_norm(model: ir.Model, match: Matcher) -> bool:
    """Whether `match` finds parts of a normalization in the main graph or in bodies."""
    return any(_parts_around(node, match) is not None for node in all_nodes(model.graph))


def _parts_around(node: ir.Node, match: Matcher) -> NormParts | None:
    if node.op_type != "Sqrt" or node.domain != "":
        return None
    try:
        return match(node)
    except NoNormError:
        return None


def require(condition: bool) -> None:
    """Raises NoNormError where the condition does not hold."""
    if not condition:
        raise NoNormError


def uncast(value: ir.Value | None, nodes: list[ir.Node]) -> ir.Value | None:
    """The value behind Casts from FP32 to FP32, which join `nodes`."""
    while value is not None:
        node = value.producer()
        if node is None or node.op_type != "Cast" or node.domain != "":
            break
        source = node.inputs[0]
        if source is None or source.dtype != ir.DataType.FLOAT or value.dtype != ir.DataType.FLOAT:
            break
        nodes.append(node)
        value = source
    return value


def producer(value: ir.Value | None, op_types: str | tuple[str, ...], nodes: list[ir.Node]) -> ir.Node:
    """The node behind `value` (Casts skipped), which must be one of `op_types`; joins `nodes`."""
    value = uncast(value, nodes)
    node = value.producer() if value is not None else None
    if (
        node is None
        or node.domain != ""
        or node.op_type not in ((op_types,) if isinstance(op_types, str) else op_types)
    ):
        raise NoNormError
    nodes.append(node)
    return node


def _with_constant(node: ir.Node) -> tuple[ir.Value | None, float]:
    """The operand of a commutative node that is not constant, and the number that the other one is."""
    left, right = node.inputs
    for value, other in ((left, right), (right, left)):
        number = scalar(other)
        if number is not None:
            return value, number
    raise NoNormError


def mean_square(sqrt: ir.Node, nodes: list[ir.Node]) -> tuple[ir.Value | None, float]:
    """What a Sqrt of a mean over the last axis squares, and the epsilon added to the mean; what is between joins
    `nodes`."""
    mean, epsilon = _with_constant(producer(sqrt.inputs[0], "Add", nodes))
    square = last_axis_mean(producer(mean, "ReduceMean", nodes))
    return _squared(producer(square, ("Pow", "Mul"), nodes)), epsilon


def last_axis_mean(node: ir.Node) -> ir.Value | None:
    """What a ReduceMean over the last axis with keepdims reduces."""
    data = node.inputs[0]
    keepdims = node.attributes.get("keepdims")
    require(data is not None and (keepdims is None or keepdims.as_int() == 1))
    axes: list[int] | None = None
    if "axes" in node.attributes:
        axes = list(node.attributes["axes"].as_ints())
    elif len(node.inputs) > 1:
        array = small_array(node.inputs[1])
        axes = array.reshape(-1).tolist() if array is not None else None
    require(axes is not None and len(axes) == 1)
    assert axes is not None and data is not None
    rank = len(data.shape) if data.shape is not None else None
    require(axes[0] == -1 or (rank is not None and axes[0] == rank - 1))
    return data


def _squared(node: ir.Node) -> ir.Value | None:
    base, exponent = node.inputs
    if node.op_type == "Pow":
        require(scalar(exponent) == 2.0)
    else:
        require(base is exponent)
    return base


def _only_reader(value: ir.Value) -> ir.Node:
    uses = tuple(value.uses())
    require(len(uses) >= 1 and len({node for node, _ in uses}) == 1 and not value.is_graph_output())
    return uses[0][0]


def quotient(sqrt: ir.Node, nodes: list[ir.Node]) -> tuple[ir.Node, ir.Value | None]:
    """The node that divides by the Sqrt, or multiplies by 1 over it, and what it divides; all joins `nodes`."""
    divisor = sqrt.outputs[0]
    node = _only_reader(divisor)
    while node.op_type == "Cast" and node.domain == "" and node.outputs[0].dtype == ir.DataType.FLOAT:
        nodes.append(node)
        divisor = node.outputs[0]
        node = _only_reader(divisor)
    require(node.domain == "")
    nodes.append(node)
    if node.op_type == "Div":
        require(node.inputs[1] is divisor and node.inputs[0] is not divisor)
        if scalar(node.inputs[0]) != 1.0:
            return node, node.inputs[0]
    else:
        require(node.op_type == "Reciprocal")
    inverse = node.outputs[0]
    product = _only_reader(inverse)
    require(product.op_type == "Mul" and product.domain == "")
    nodes.append(product)
    return product, _other(product, inverse)


def _other(node: ir.Node, value: ir.Value) -> ir.Value:
    left, right = node.inputs
    other = right if left is value else left
    if other is None or other is value:
        raise NoNormError
    return other


def with_scale(
    x: ir.Value, normalized: ir.Node, epsilon: float, nodes: list[ir.Node], *, and_bias: bool = False
) -> NormParts:
    """The parts `nodes` with the product by a scale behind the node `normalized` and, if asked, a sum with a bias."""
    length = x.shape[-1] if x.shape is not None and len(x.shape) else None
    if not isinstance(length, int):
        raise NoNormError
    value = _through_casts(normalized.outputs[0], nodes)
    product = _only_reader(value)
    require(product.op_type == "Mul" and product.domain == "" and product.graph is normalized.graph)
    scale = _other(product, value)
    require(_is_vector(scale, length))
    nodes.append(product)
    bias, last = None, product
    addition = _single_add(product.outputs[0]) if and_bias else None
    if addition is not None:
        candidate = _other(addition, product.outputs[0])
        if _is_vector(candidate, length):
            bias, last = candidate, addition
            nodes.append(addition)
    require(_is_closed(dict.fromkeys(nodes), last))
    return NormParts(x, scale, bias, epsilon, _producers_first(dict.fromkeys(nodes)), last)


def _through_casts(value: ir.Value, nodes: list[ir.Node]) -> ir.Value:
    while True:
        uses = tuple(value.uses())
        node = uses[0][0] if len(uses) == 1 and not value.is_graph_output() else None
        if node is None or node.op_type != "Cast" or node.domain != "" or node.outputs[0].dtype != ir.DataType.FLOAT:
            return value
        nodes.append(node)
        value = node.outputs[0]


def _single_add(value: ir.Value) -> ir.Node | None:
    uses = tuple(value.uses())
    if len(uses) != 1 or value.is_graph_output():
        return None
    node = uses[0][0]
    return node if node.op_type == "Add" and node.domain == "" else None


def _is_vector(value: ir.Value, length: int) -> bool:
    """Whether the value is a constant FP32 vector of that length; its elements are not read."""
    tensor = value.const_value if value.const_value is not None else constant_tensor(value)
    return tensor is not None and tensor.dtype == ir.DataType.FLOAT and tuple(tensor.shape) == (length,)


def _is_closed(nodes: Collection[ir.Node], last: ir.Node) -> bool:
    """Whether all nodes lie in one graph and no value between them is seen from outside."""
    for node in nodes:
        if node.graph is not last.graph:
            return False
        if node is last:
            continue
        for value in node.outputs:
            if value.is_graph_output() or any(reader not in nodes for reader, _ in value.uses()):
                return False
    return True


def _producers_first(nodes: Collection[ir.Node]) -> tuple[ir.Node, ...]:
    """Producers before readers, ties in the order given."""
    done: dict[ir.Node, None] = {}

    def visit(node: ir.Node) -> None:
        if node in done:
            return
        for value in node.inputs:
            source = value.producer() if value is not None else None
            if source is not None and source in nodes:
                visit(source)
        done[node] = None

    for node in nodes:
        visit(node)
    return tuple(done)


def _fuse(graph: ir.Graph, parts: NormParts, op_type: str) -> tuple[str, ...]:
    names = tuple(str(node.name) for node in parts.nodes)
    last, old = parts.last, parts.last.outputs[0]
    inputs = [parts.x, parts.scale] + ([parts.bias] if parts.bias is not None else [])
    fused = ir.Node(
        "",
        op_type,
        inputs,
        [ir.AttrInt64("axis", -1), ir.AttrFloat32("epsilon", parts.epsilon), ir.AttrInt64("stash_type", 1)],
        num_outputs=1,
        name=last.name,
        doc_string=last.doc_string,
        metadata_props=dict(last.metadata_props),
    )
    set_replaced_names(fused, names)
    new = fused.outputs[0]
    new.doc_string = old.doc_string
    new.metadata_props.update(old.metadata_props)
    new.meta.update(old.meta)
    constants = _constants_read_by(parts)
    ir.convenience.replace_nodes_and_values(graph, last, list(parts.nodes), [fused], [old], [new])
    for constant in constants:
        drop_if_unread(constant)
    return names


def _constants_read_by(parts: NormParts) -> list[ir.Value]:
    kept = {parts.x, parts.scale, parts.bias, *(value for node in parts.nodes for value in node.outputs)}
    read = dict.fromkeys(value for node in parts.nodes for value in node.inputs if value is not None)
    return [value for value in read if value not in kept]
