"""Repair `attention_scale`: the scale of attention scores stands in front of the product Q K^T, on Q.

Exporters write softmax(Q K^T * s + mask) with s = 1 / sqrt(head size) behind the product, which so is larger than the
scores by 1 / s, and leaves FP16's range, or data_max, where the scores do not.

- Turns Mul (or Div) of a product by a single number into the same of the product's first operand. The scores are then
  (Q s) K^T. Where s is a power of two, every intermediate is scaled exactly and the result has the same bits, unless a
  product of two elements is subnormal. Else both forms are within (n + 1) 2^-24 sum |q_i k_i| |s| of the exact score,
  with n = head size (Higham, Accuracy and Stability of Numerical Algorithms, 3.1), so within twice that of each other.
- Does not act where the product is read by anything else or is a graph output; where it stays within the limit, or the
  scores do not; where s is not smaller than 1; nor where no Softmax follows within a few pointwise nodes.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from autocast_core.graph.constants import constant_tensor, scalar
from autocast_core.graph.walk import all_nodes
from autocast_core.sanitize.change import Change
from autocast_core.sanitize.range_repairs.scaling import Magnitude, Scaling
from autocast_core.sanitize.range_repairs.softmax_ahead import leads_to_softmax

STEP = "attention_scale"


def find_attention_scales(model: ir.Model, magnitude: Magnitude, limit: float) -> Iterator[Change]:
    """The scales to move, in the order of the graph; `Change.nodes` are the product and its scale."""
    for product in all_nodes(model.graph):
        scale = _scale_of(product)
        if scale is None:
            continue
        factor = _factor(product, scale)
        largest = magnitude(product.outputs[0])
        if factor is None or largest is None or not largest > limit or largest * factor > limit:
            continue
        if leads_to_softmax(scale.outputs[0]):
            detail = f"the scale {factor:.6g} behind {product.name!r}, which reaches {largest:.6g}, was moved onto Q"
            yield Change(STEP, detail, (str(product.name), str(scale.name)))


def move_attention_scale(product: ir.Node, scale: ir.Node, scaling: Scaling) -> None:
    """Put `scale`, which reads nothing but `product` and a number, in front of the first operand of `product`."""
    factor, query, graph = _factor(product, scale), product.inputs[0], product.graph
    assert factor is not None and query is not None and graph is not None
    moved = ir.Node(
        "",
        scale.op_type,
        [query if value is product.outputs[0] else value for value in scale.inputs],
        num_outputs=1,
        name=scale.name,
        doc_string=scale.doc_string,
        metadata_props=dict(scale.metadata_props),
    )
    scaled = moved.outputs[0]
    scaled.name = scaling.names.fresh(f"{query.name}_scaled")
    scaled.type, scaled.shape = query.type, query.shape
    graph.insert_before(product, moved)
    product.replace_input_with(0, scaled)
    ir.convenience.replace_all_uses_with(scale.outputs[0], product.outputs[0])
    graph.remove(scale, safe=True)
    scaling.note(scaled, query, factor)
    scaling.note(product.outputs[0], product.outputs[0], factor)


def _scale_of(product: ir.Node) -> ir.Node | None:
    """The one reader of a product of two computed FP32 tensors, where it multiplies or divides it by a number."""
    if product.domain != "" or product.op_type not in ("MatMul", "Einsum") or len(product.inputs) != 2:
        return None
    value, uses = product.outputs[0], tuple(product.outputs[0].uses())
    if len(uses) != 1 or value.is_graph_output() or value.dtype != ir.DataType.FLOAT:
        return None
    if any(operand is None or constant_tensor(operand) is not None for operand in product.inputs):
        return None
    scale, index = uses[0]
    if scale.domain != "" or scale.graph is not product.graph or scale.outputs[0].is_graph_output():
        return None
    return scale if scale.op_type == "Mul" or (scale.op_type == "Div" and index == 0) else None


def _factor(product: ir.Node, scale: ir.Node) -> float | None:
    """What `scale` multiplies by, where it is a positive number smaller than 1 that adds no dimension to Q."""
    query = product.inputs[0]
    rank = 1 if query is None or query.shape is None else len(query.shape)
    for value in scale.inputs:
        number, tensor = scalar(value), constant_tensor(value)
        if number is None or tensor is None or number <= 0:
            continue
        factor = number if scale.op_type == "Mul" else 1 / number
        return factor if factor < 1 and len(tensor.shape) <= rank else None
    return None
