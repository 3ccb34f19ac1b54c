"""Finds the attention cores of a graph and of its bodies, in the forms that exporters write.

- A core is a product of two matrices, a Softmax of it, and a product of that with a third matrix. Between them may
  stand the scale (Mul or Div by one number, or by one a head) in front of the first product, behind it or both; masks
  and position biases (Add, Sum, Sub, Where, Mul, Neg, Clip, Max, Min); a soft cap (Tanh); what changes probabilities: a
  guard against NaN (Where), masks and scales (Mul, Div, Add); casts, layout, Dropout; and in front of K and V what
  repeats their heads (Expand, Tile). The Softmax may be written in parts. Products may be MatMul, Gemm, Einsum or
  FusedMatMul, in either order. Attention, MultiHeadAttention and GroupQueryAttention are cores of one node.
- Not a core: where both K and V are constant, as in a look-up in a codebook; where its nodes lie in several graphs;
  where the Softmax runs along an axis that the second product does not sum over, or along several (up to opset 12).
- Nothing is changed, and no weights are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import onnx_ir as ir

from autocast_core.attention.core import AttentionCore, Scale
from autocast_core.attention.fused_operators import core_of_operator, is_fused_operator
from autocast_core.attention.operands import Operand, computing_type, operand, results
from autocast_core.attention.paths import (
    PathStep,
    is_cast,
    is_constant,
    is_layout,
    steps_from_product,
    steps_to_product,
)
from autocast_core.attention.products import columns, contracted_size, size_of
from autocast_core.attention.roles import Parts, inner_links, is_transposed, read_elsewhere, roles_behind
from autocast_core.attention.softmax_parts import steps_from_exponential
from autocast_core.graph.walk import nodes_with_ids
from autocast_core.operators.families import is_in

_Ids = Mapping[ir.Node, str]
_OF_ONE_AXIS = 13
"""The opset from which on a Softmax runs along one axis; below, along all from its axis on."""


def attention_cores(graph: ir.Graph) -> tuple[AttentionCore, ...]:
    """The attention cores of `graph` and of its bodies, in the order of their Softmax.

    Types and sizes are those that the graph's values have: run type and shape inference first for the fullest answer.
    """
    ids = {node: node_id for node_id, node in nodes_with_ids(graph)}
    opset = graph.opset_imports.get("", _OF_ONE_AXIS)
    found = (_core(node, ids, opset) for node in ids if node.inputs and node.outputs)
    return tuple(core for core in found if core is not None)


def _core(node: ir.Node, ids: _Ids, opset: int) -> AttentionCore | None:
    if is_fused_operator(node):
        return core_of_operator(node, ids)
    steps = _steps_of_softmax(node, opset)
    ahead = steps_from_product(steps[0].value) if steps else None
    behind = None if ahead is None else steps_to_product(node)
    if ahead is None or behind is None or len({ahead[0].graph, node.graph, behind[1].node.graph}) > 1:
        return None
    parts = Parts(ahead[0], (*ahead[1], *steps[:-1]), steps[-1], *behind)
    transposed = is_transposed(parts)
    key, value = parts.product.inputs[parts.key_at], parts.end.node.inputs[1 - parts.end.operand]
    if transposed is None or (is_constant(key) and is_constant(value)):
        return None
    return _core_of(parts, transposed, ids)


def _steps_of_softmax(node: ir.Node, opset: int) -> tuple[PathStep, ...]:
    """A Softmax over one axis, as a step, or the steps from the Exp of one in parts to its division; else nothing."""
    if not is_in(node, frozenset({"Softmax"})):
        return steps_from_exponential(node) or ()
    value = node.inputs[0]
    if value is None:
        return ()
    axis, rank = node.attributes.get_int("axis", 1), None if value.shape is None else len(value.shape)
    is_last = axis in (-1, rank - 1) if rank is not None else axis != 1
    return (PathStep(node, 0),) if opset >= _OF_ONE_AXIS or is_last else ()


def _core_of(parts: Parts, transposed: bool, ids: _Ids) -> AttentionCore:
    product, end = parts.product, parts.end
    query, key = operand(product, 1 - parts.key_at, ids), operand(product, parts.key_at, ids)
    value = operand(end.node, 1 - end.operand, ids)
    readers, result_casts = results(end.node, ids)
    behind, masks, softcap, normalizing = roles_behind(parts, ids)
    between = [*query.between, *key.between, *(step.node for step in (*parts.before, *parts.after))]
    computing = [product, *parts.computing_before, parts.softmax.node, *parts.computing_after, end.node]
    computing += [part.scale for part in (query, key) if part.scale is not None]
    return AttentionCore(
        product=ids[product],
        softmax=ids[parts.softmax.node],
        p_v=ids[end.node],
        scales=(*_scales_in_front(query, key, ids), *behind),
        masks=masks,
        softcap=softcap,
        normalizing=normalizing,
        guards=_named(parts.computing_after, ids),
        casts=_named(filter(is_cast, between), ids),
        pass_through=_named(filter(is_layout, between), ids),
        repeats=_named((*query.repeats, *key.repeats, *value.repeats), ids),
        rim_casts=_named((*query.rim_casts, *key.rim_casts, *value.rim_casts, *result_casts), ids),
        head_size=contracted_size(product),
        value_head_size=columns(end.node, 1 - end.operand),
        heads=_matrices(parts.softmax.value),
        queries=size_of(parts.softmax.value, -2),
        keys=size_of(parts.softmax.value, -1),
        broadcast=_broadcast(parts),
        transposed=transposed,
        read_elsewhere=read_elsewhere(parts),
        links=(query.link, key.link, *inner_links(parts, ids), value.link, *readers),
        element_types={ids[node]: dtype for node in computing if (dtype := computing_type(node)) is not None},
    )


def _named(nodes: Iterable[ir.Node], ids: _Ids) -> tuple[str, ...]:
    return tuple(dict.fromkeys(ids[node] for node in nodes))


def _scales_in_front(query: Operand, key: Operand, ids: _Ids) -> tuple[Scale, ...]:
    on_query = () if query.scale is None else (Scale(ids[query.scale], "query"),)
    on_key = () if key.scale is None else (Scale(ids[key.scale], "key"),)
    return (*on_query, *on_key)


def _broadcast(parts: Parts) -> tuple[Literal["K", "V"], ...]:
    """Which of K and V have one head for all heads of the scores."""
    key, value = parts.product.inputs[parts.key_at], parts.end.node.inputs[1 - parts.end.operand]
    found: list[Literal["K", "V"]] = []
    found += ["K"] if _has_one_head(key, parts.softmax.value) else []
    found += ["V"] if _has_one_head(value, parts.softmax.value) else []
    return tuple(found)


def _has_one_head(operand: ir.Value | None, scores: ir.Value) -> bool:
    if operand is None or operand.shape is None or scores.shape is None or len(scores.shape) < 4:
        return False
    return (operand.shape[-3] if len(operand.shape) > 2 else 1) == 1 and scores.shape[-3] != 1


def _matrices(scores: ir.Value) -> int | None:
    """How many matrices of scores the Softmax reads; None where its shape does not tell."""
    if scores.shape is None:
        return None
    found = 1
    for size in scores.shape[:-2]:
        if not isinstance(size, int):
            return None
        found *= size
    return found
