"""Operators that are an attention core by themselves, and what their attributes and shapes say of it."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from autocast_core.attention.core import AttentionCore, Mask
from autocast_core.attention.operands import computing_type, operand, results
from autocast_core.attention.products import size_of

_OPERATORS: Mapping[tuple[str, str], tuple[str, int | None]] = {
    ("", "Attention"): ("q_num_heads", 3),
    ("com.microsoft", "Attention"): ("num_heads", 3),
    ("com.microsoft", "MultiHeadAttention"): ("num_heads", 5),
    ("com.microsoft", "GroupQueryAttention"): ("num_heads", 10),
}
"""The attribute that counts heads, where Q is not [batch, heads, length, head size], and the operand that is a mask."""


def is_fused_operator(node: ir.Node) -> bool:
    """Whether the node is Attention, MultiHeadAttention or GroupQueryAttention."""
    return (node.domain, node.op_type) in _OPERATORS and bool(node.inputs) and node.inputs[0] is not None


def core_of_operator(node: ir.Node, ids: Mapping[ir.Node, str]) -> AttentionCore:
    """The core that the node is."""
    node_id, dtype = ids[node], computing_type(node)
    attribute, mask_at = _OPERATORS[node.domain, node.op_type]
    head_size, batch, heads = _sizes(node, attribute)
    masked = mask_at is not None and mask_at < len(node.inputs) and node.inputs[mask_at] is not None
    cap = node.attributes.get_float("softcap", 0.0)
    operands = [operand(node, index, ids) for index, value in enumerate(node.inputs[:3]) if value is not None]
    behind, casts = results(node, ids)
    return AttentionCore(
        product=node_id,
        softmax=node_id,
        p_v=node_id,
        operator=node.op_type,
        masks=(Mask(node_id, "added"),) if masked else (),
        softcap=(node_id,) if cap else (),
        rim_casts=tuple(ids[each] for part in operands for each in part.rim_casts) + tuple(ids[each] for each in casts),
        head_size=head_size,
        value_head_size=_value_head_size(node, head_size),
        heads=None if batch is None or heads is None else batch * heads,
        read_elsewhere=_scores_given(node),
        links=(*(part.link for part in operands), *behind),
        element_types={} if dtype is None else {node_id: dtype},
    )


def _sizes(node: ir.Node, attribute: str) -> tuple[int | None, int | None, int | None]:
    """Head size, batch size and number of heads of Q; each None where it is not known."""
    query = node.inputs[0]
    rank = None if query is None or query.shape is None else len(query.shape)
    width, heads = size_of(query, -1), node.attributes.get_int(attribute, 0) or None
    if node.op_type == "Attention" and node.domain != "":
        return None, size_of(query, -3), heads  # its Q is inside: the operand is projected first
    if rank == 5:
        return width, size_of(query, -5), heads  # [batch, length, heads, 3, head size]: K and V lie in it too
    if rank == 4:
        return width, size_of(query, -4), size_of(query, -3)
    packed = node.op_type == "GroupQueryAttention" and (len(node.inputs) < 2 or node.inputs[1] is None)
    shares = heads if heads is None or not packed else heads + 2 * node.attributes.get_int("kv_num_heads", 0)
    return (None if width is None or not shares else width // shares), size_of(query, -3), heads


def _value_head_size(node: ir.Node, head_size: int | None) -> int | None:
    """The head size of V where ONNX's Attention says it; that of Q and K for other operators."""
    value = node.inputs[2] if len(node.inputs) > 2 and node.domain == "" else None
    if value is None or value.shape is None:
        return head_size
    heads = node.attributes.get_int("kv_num_heads", 0) if len(value.shape) == 3 else 1
    width = size_of(value, -1)
    return None if width is None or not heads else width // heads


def _scores_given(node: ir.Node) -> tuple[str, ...]:
    """The name of the scores or probabilities that an Attention gives as its fourth result, where it does."""
    given = node.outputs[3:4] if node.domain == "" else ()
    return tuple(str(value.name) for value in given if value.uses() or value.is_graph_output())
