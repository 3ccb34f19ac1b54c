"""Finds the attention cores of a graph and of its bodies, in the forms that exporters write.

- A core is a product of two matrices, a Softmax of it, and a product of that with a third matrix. Between them may
  stand the scale (Mul or Div by one number, or by one a head) in front of the first product, behind it or both; masks
  and position biases (Add, Sub, Where, Mul, Clip, Max, Min); a soft cap (Tanh); a guard against NaN (Where); casts,
  layout, Dropout; and in front of K and V what repeats their heads (Expand, Tile). Products may be MatMul, Gemm, Einsum
  or FusedMatMul, in either order. Attention, MultiHeadAttention and GroupQueryAttention are cores of one node.
- Not a core: where both K and V are constant, as in a look-up in a codebook; where the Softmax is written in parts, or
  runs along an axis that the second product does not sum over.
- Nothing is changed, and no weights are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx_ir as ir

from autocast_core.attention.core import AttentionCore, Scale
from autocast_core.attention.fused_operators import core_of_operator, is_fused_operator
from autocast_core.attention.operands import Operand, computing_type, operand, results
from autocast_core.attention.paths import is_cast, is_constant, is_layout, steps_from_product, steps_to_product
from autocast_core.attention.products import columns, contracted_size
from autocast_core.attention.roles import Parts, inner_links, is_transposed, read_elsewhere, roles_behind
from autocast_core.graph.walk import nodes_with_ids

_Ids = Mapping[ir.Node, str]


def attention_cores(graph: ir.Graph) -> tuple[AttentionCore, ...]:
    """The attention cores of `graph` and of its bodies, in the order of their Softmax.

    Types and sizes are those that the graph's values have: run type and shape inference first for the fullest answer.
    """
    ids = {node: node_id for node_id, node in nodes_with_ids(graph)}
    found = (_core(node, ids) for node in ids if _may_be_core(node))
    return tuple(core for core in found if core is not None)


def _may_be_core(node: ir.Node) -> bool:
    is_softmax = node.op_type == "Softmax" and node.domain == ""
    return bool(node.inputs and node.outputs) and (is_softmax or is_fused_operator(node))


def _core(node: ir.Node, ids: _Ids) -> AttentionCore | None:
    if is_fused_operator(node):
        return core_of_operator(node, ids)
    ahead, behind = steps_from_product(node), steps_to_product(node)
    if ahead is None or behind is None:
        return None
    parts = Parts(*ahead, node, *behind)
    transposed = is_transposed(parts)
    key, value = parts.product.inputs[parts.key_at], parts.end.node.inputs[1 - parts.end.operand]
    if transposed is None or (is_constant(key) and is_constant(value)):
        return None
    return _core_of(parts, transposed, ids)


def _core_of(parts: Parts, transposed: bool, ids: _Ids) -> AttentionCore:
    product, end = parts.product, parts.end
    query, key = operand(product, 1 - parts.key_at, ids), operand(product, parts.key_at, ids)
    value = operand(end.node, 1 - end.operand, ids)
    readers, result_casts = results(end.node, ids)
    behind, masks, softcap = roles_behind(parts, ids)
    between = [*query.between, *key.between, *(step.node for step in (*parts.before, *parts.after))]
    computing = [product, *parts.computing_before, parts.softmax, *parts.computing_after, end.node]
    computing += [part.scale for part in (query, key) if part.scale is not None]
    return AttentionCore(
        product=ids[product],
        softmax=ids[parts.softmax],
        p_v=ids[end.node],
        scales=(*_scales_in_front(query, key, ids), *behind),
        masks=masks,
        softcap=softcap,
        guards=_named(parts.computing_after, ids),
        casts=_named(filter(is_cast, between), ids),
        pass_through=_named(filter(is_layout, between), ids),
        repeats=_named((*query.repeats, *key.repeats, *value.repeats), ids),
        rim_casts=_named((*query.rim_casts, *key.rim_casts, *value.rim_casts, *result_casts), ids),
        head_size=contracted_size(product),
        value_head_size=columns(end.node, 1 - end.operand),
        heads=_matrices(parts.softmax),
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


def _matrices(softmax: ir.Node) -> int | None:
    """How many matrices of scores the Softmax reads; None where its shape does not tell."""
    value = softmax.inputs[0]
    if value is None or value.shape is None:
        return None
    found = 1
    for size in value.shape[:-2]:
        if not isinstance(size, int):
            return None
        found *= size
    return found
