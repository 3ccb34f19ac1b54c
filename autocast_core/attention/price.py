"""What an attention core costs an engine beyond one kernel in the model's 16-bit type, by the types of its nodes.

A bound by the model of fusion, read off engines of TensorRT for RTX 1.7.1 (the table is in infra/docs/engine.md):

- A core that is split runs at least two kernels more: product, what stands between, product. Scores and probabilities
  are written and read, and Q, K and V cross in FP32 to a product in FP32. Engines take more where a Cast, or the layout
  of the result, finds no other kernel that takes it in.
- A core that is whole costs nothing, unless it computes in the other 16-bit type: then there are at most four Casts, of
  Q, K, V and the result. Those that follow an elementwise operator are part of its kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from autocast_core.attention.core import AttentionCore
from autocast_core.attention.fusion import fusion_obstacles, link_type

Elements = Callable[[ir.Value], int | None]
"""How many elements a value has in a batch; None where that is not known."""


@dataclass(frozen=True)
class CorePrice:
    """Kernels and bytes (read and written, of a batch; None: not known) beyond one kernel: at least so many where the
    core `is_split`, at most so many where not."""

    is_split: bool
    kernels: int = 0
    bytes: int | None = 0

    def __str__(self) -> str:
        if not self.kernels:
            return "one kernel, no more traffic"
        traffic = "" if self.bytes is None else f" and {self.bytes:,} bytes a batch"
        if self.is_split:
            return f"split, at least {self.kernels} kernels{traffic} more"
        return f"one kernel, at most {self.kernels} that cast{traffic} more"


def core_price(
    core: AttentionCore,
    types: Mapping[str, ir.DataType],
    nodes: Mapping[str, ir.Node],
    low: ir.DataType,
    elements: Elements,
) -> CorePrice:
    """The price of a `core` that is no single operator, in a model whose 16-bit type is `low`.

    `types` are those that its nodes and those at the ends of its links compute in, `nodes` its own, by id.
    """
    product, p_v = nodes[core.product], nodes[core.p_v]
    outside = {core.product: product.inputs[:2], core.p_v: p_v.inputs[1:2]}
    if not fusion_obstacles(core, types):
        if types.get(core.product, low) in (low, ir.DataType.FLOAT):
            return CorePrice(is_split=False)
        crossing = [(4, value) for values in (*outside.values(), p_v.outputs[:1]) for value in values]
        return CorePrice(False, len(crossing), _moved(crossing, elements))
    _, _, scores, probabilities, *_ = (link_type(link, types) for link in core.links)
    crossing = [(2 * _width(scores), product.outputs[0]), (2 * _width(probabilities), p_v.inputs[0])]
    wide = (node for node in core.products if types.get(node) == ir.DataType.FLOAT)
    crossing += [(4, value) for node in wide for value in outside[node]]
    return CorePrice(True, 2, _moved(crossing, elements))


def _width(dtype: ir.DataType | None) -> int:
    return 4 if dtype == ir.DataType.FLOAT else 2


def _moved(crossing: list[tuple[int, ir.Value | None]], elements: Elements) -> int | None:
    """The bytes of values with the number of bytes that an element of each moves; None where a size is not known."""
    total = 0
    for width, value in crossing:
        count = None if value is None else elements(value)
        if count is None:
            return None
        total += width * count
    return total
