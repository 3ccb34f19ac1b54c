"""Pass `layernorm`: layer normalization that an exporter took apart becomes one LayerNormalization.

- Fuses ``(x - mean(x)) / sqrt(mean((x - mean(x))**2) + eps) * scale [+ bias]`` over the last axis: ReduceMean, Sub
  (one, or the same twice), Pow 2 or Mul by itself, ReduceMean, Add, Sqrt, Div or Reciprocal and Mul, Mul, Add.
  FP32-to-FP32 Casts between them count as nothing.
- The result computes its statistics in FP32 (stash_type 1) with the same epsilon, has the name of the last node it
  stands for, and lists all their names (`annotations.replaced_names`). ONNX operator LayerNormalization, version 17.
- Does not act below opset 17; on types other than FP32; where an inner value is read by anything else or is an output;
  where scale or bias is not a one-dimensional constant as long as the last axis; where the axis, its length or epsilon
  is unknown; or with ``config.fuse_layer_norm`` off.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.graph.annotations import set_replaced_names
from autocast_core.graph.constants import constant_tensor, drop_if_unread, scalar, small_array
from autocast_core.graph.walk import all_graphs, all_nodes
from autocast_core.sanitize.change import Change

FIRST_OPSET = 17
"""LayerNormalization's; pass `opset` raises a lower one where there is something to fuse."""


def fuse_layer_norm(model: ir.Model, config: ConversionConfig) -> tuple[Change, ...]:
    """Fuse every layer normalization of the main graph and of bodies; see the module."""
    if not config.fuse_layer_norm or model.graph.opset_imports.get("", 0) < FIRST_OPSET:
        return ()
    fused = []
    for graph in all_graphs(model.graph):
        for node in list(graph):
            match = _match(node) if node.op_type == "Sqrt" and node.domain == "" else None
            if match is not None:
                fused.append(_fuse(graph, match))
    return tuple(Change("layernorm", f"fused {len(nodes)} nodes into LayerNormalization", nodes) for nodes in fused)


def is_decomposed(model: ir.Model) -> bool:
    """Whether a layer normalization of the model is taken apart such that the pass would fuse it."""
    roots = (node for node in all_nodes(model.graph) if node.op_type == "Sqrt" and node.domain == "")
    return any(_match(node) is not None for node in roots)


@dataclass(frozen=True)
class _Match:
    """The operands of the fused node and the nodes it stands for, the last one being `last`."""

    x: ir.Value
    scale: ir.Value
    bias: ir.Value | None
    epsilon: float
    nodes: tuple[ir.Node, ...]
    last: ir.Node


class _NoMatchError(Exception):
    """The nodes around a Sqrt are not a layer normalization; never leaves this module."""


def _match(sqrt: ir.Node) -> _Match | None:
    try:
        return _matched(sqrt)
    except _NoMatchError:
        return None


def _matched(sqrt: ir.Node) -> _Match:
    nodes: list[ir.Node] = [sqrt]
    add = _producer(sqrt.inputs[0], "Add", nodes)
    variance, epsilon = _with_constant(add)
    mean_of_squares = _producer(variance, "ReduceMean", nodes)
    square = _last_axis_mean(mean_of_squares)
    deviation = _squared(_producer(square, ("Pow", "Mul"), nodes))
    sub = _producer(deviation, "Sub", nodes)
    x, mean = sub.inputs
    _require(x is not None and x.dtype == ir.DataType.FLOAT)
    mean_of_x = _producer(mean, "ReduceMean", nodes)
    _require(_uncast(_last_axis_mean(mean_of_x), nodes) is x)
    quotient = _quotient(sqrt, nodes)
    numerator = quotient[1]
    top = _producer(numerator, "Sub", nodes)
    _require(top is sub or tuple(top.inputs) == tuple(sub.inputs))
    assert x is not None
    return _with_scale_and_bias(x, quotient[0], epsilon, nodes)


def _require(condition: bool) -> None:
    if not condition:
        raise _NoMatchError


def _uncast(value: ir.Value | None, nodes: list[ir.Node]) -> ir.Value | None:
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


def _producer(value: ir.Value | None, op_types: str | tuple[str, ...], nodes: list[ir.Node]) -> ir.Node:
    """The node behind `value` (Casts skipped), which must be one of `op_types`; joins `nodes`."""
    value = _uncast(value, nodes)
    node = value.producer() if value is not None else None
    if (
        node is None
        or node.domain != ""
        or node.op_type not in ((op_types,) if isinstance(op_types, str) else op_types)
    ):
        raise _NoMatchError
    nodes.append(node)
    return node


def _with_constant(node: ir.Node) -> tuple[ir.Value | None, float]:
    """The operand of a commutative node that is not constant, and the number that the other one is."""
    left, right = node.inputs
    for value, other in ((left, right), (right, left)):
        number = scalar(other)
        if number is not None:
            return value, number
    raise _NoMatchError


def _last_axis_mean(node: ir.Node) -> ir.Value | None:
    """What a ReduceMean over the last axis with keepdims reduces."""
    data = node.inputs[0]
    keepdims = node.attributes.get("keepdims")
    _require(data is not None and (keepdims is None or keepdims.as_int() == 1))
    axes: list[int] | None = None
    if "axes" in node.attributes:
        axes = list(node.attributes["axes"].as_ints())
    elif len(node.inputs) > 1:
        array = small_array(node.inputs[1])
        axes = array.reshape(-1).tolist() if array is not None else None
    _require(axes is not None and len(axes) == 1)
    assert axes is not None and data is not None
    rank = len(data.shape) if data.shape is not None else None
    _require(axes[0] == -1 or (rank is not None and axes[0] == rank - 1))
    return data


def _squared(node: ir.Node) -> ir.Value | None:
    base, exponent = node.inputs
    if node.op_type == "Pow":
        _require(scalar(exponent) == 2.0)
    else:
        _require(base is exponent)
    return base


def _only_reader(value: ir.Value) -> ir.Node:
    uses = tuple(value.uses())
    _require(len(uses) >= 1 and len({node for node, _ in uses}) == 1 and not value.is_graph_output())
    return uses[0][0]


def _quotient(sqrt: ir.Node, nodes: list[ir.Node]) -> tuple[ir.Node, ir.Value | None]:
    """The node that divides by the Sqrt, and what it divides."""
    divisor = sqrt.outputs[0]
    node = _only_reader(divisor)
    while node.op_type == "Cast" and node.domain == "" and node.outputs[0].dtype == ir.DataType.FLOAT:
        nodes.append(node)
        divisor = node.outputs[0]
        node = _only_reader(divisor)
    _require(node.domain == "")
    nodes.append(node)
    if node.op_type == "Div":
        _require(node.inputs[1] is divisor and node.inputs[0] is not divisor)
        return node, node.inputs[0]
    _require(node.op_type == "Reciprocal")
    inverse = node.outputs[0]
    product = _only_reader(inverse)
    _require(product.op_type == "Mul" and product.domain == "")
    nodes.append(product)
    return product, _other(product, inverse)


def _other(node: ir.Node, value: ir.Value) -> ir.Value:
    left, right = node.inputs
    other = right if left is value else left
    if other is None or other is value:
        raise _NoMatchError
    return other


def _with_scale_and_bias(x: ir.Value, normalized: ir.Node, epsilon: float, nodes: list[ir.Node]) -> _Match:
    length = x.shape[-1] if x.shape is not None and len(x.shape) else None
    if not isinstance(length, int):
        raise _NoMatchError
    value = _through_casts(normalized.outputs[0], nodes)
    product = _only_reader(value)
    _require(product.op_type == "Mul" and product.domain == "" and product.graph is normalized.graph)
    scale = _other(product, value)
    _require(_is_vector(scale, length))
    nodes.append(product)
    bias, last = None, product
    addition = _single_add(product.outputs[0])
    if addition is not None:
        candidate = _other(addition, product.outputs[0])
        if _is_vector(candidate, length):
            bias, last = candidate, addition
            nodes.append(addition)
    _require(_is_closed(dict.fromkeys(nodes), last))
    return _Match(x, scale, bias, epsilon, _producers_first(dict.fromkeys(nodes)), last)


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
            producer = value.producer() if value is not None else None
            if producer is not None and producer in nodes:
                visit(producer)
        done[node] = None

    for node in nodes:
        visit(node)
    return tuple(done)


def _fuse(graph: ir.Graph, match: _Match) -> tuple[str, ...]:
    names = tuple(str(node.name) for node in match.nodes)
    last, old = match.last, match.last.outputs[0]
    inputs = [match.x, match.scale] + ([match.bias] if match.bias is not None else [])
    fused = ir.Node(
        "",
        "LayerNormalization",
        inputs,
        [ir.AttrInt64("axis", -1), ir.AttrFloat32("epsilon", match.epsilon), ir.AttrInt64("stash_type", 1)],
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
    constants = _constants_read_by(match)
    ir.convenience.replace_nodes_and_values(graph, last, list(match.nodes), [fused], [old], [new])
    for constant in constants:
        drop_if_unread(constant)
    return names


def _constants_read_by(match: _Match) -> list[ir.Value]:
    kept = {match.x, match.scale, match.bias, *(value for node in match.nodes for value in node.outputs)}
    read = dict.fromkeys(value for node in match.nodes for value in node.inputs if value is not None)
    return [value for value in read if value not in kept]
