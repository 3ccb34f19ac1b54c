"""Whether an engine can make one kernel of an attention core, by a table of forms that were built and looked at.

Measured with TensorRT for RTX 1.7.1 for compute capability 8.9, 12 heads, 128 tokens; the forms stand in
tests/autocast_core/attention/forms.py. A core becomes one kernel where

- both products read and write one and the same 16-bit type. A product may compute in FP32 where its operands are cast
  up, and its result down, with nothing that computes in FP32 between the cast and the product;
- what stands between the products computes in any type: scales, masks and the Softmax in FP32 cost no kernel;
- the head size is 9 to 256, the same for V, and there is more than one matrix of scores, of more than one query and
  more than one key;
- K and V have all heads (repeated by Expand or Tile), or both have one that the products broadcast and nothing computes
  between product and Softmax;
- there is no soft cap, and nothing else reads scores or probabilities;
- K is the right operand of its product, the probabilities the left one of theirs, and they are not transposed.

What is not known (a size, a type) is taken to be no obstacle. How such a kernel accumulates is not known without a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from autocast_core.attention.core import AttentionCore, ProductLink
from autocast_core.number_formats import LOW_DTYPES

SMALLEST_HEAD = 9
LARGEST_HEAD = 256

Kind = Literal[
    "all_fp32",
    "fp32_product",
    "two_low_types",
    "head_size",
    "value_head_size",
    "single_matrix",
    "single_query",
    "broadcast",
    "softcap",
    "read_elsewhere",
    "transposed",
]
_Types = Mapping[str, ir.DataType] | None


@dataclass(frozen=True)
class Obstacle:
    """Why a core is not one kernel. `nodes` are those that it lies with; `detail` says what is so, in one line."""

    kind: Kind
    nodes: tuple[str, ...]
    detail: str


def fusion_obstacles(core: AttentionCore, types: _Types = None) -> tuple[Obstacle, ...]:
    """What keeps an engine from making one kernel of `core`; none where nothing is known to.

    `types` are the types that nodes are to compute in, by id, as a plan decides; casts then stand where a value's type
    and its reader's differ. Without them the graph is judged as it is.
    """
    return (*_of_types(core, types), *_of_form(core))


def _of_form(core: AttentionCore) -> Iterator[Obstacle]:
    head, value_head = core.head_size, core.value_head_size
    if head is not None and not SMALLEST_HEAD <= head <= LARGEST_HEAD:
        detail = f"the head size is {head}, which is not within {SMALLEST_HEAD} to {LARGEST_HEAD}"
        yield Obstacle("head_size", (core.product,), detail)
    elif head is not None and value_head is not None and value_head != head:
        yield Obstacle("value_head_size", (core.p_v,), f"V has heads of {value_head}, Q and K of {head}")
    if core.heads is not None and core.heads < 2:
        yield Obstacle("single_matrix", (core.softmax,), "there is a single matrix of scores: one head of one sample")
    if core.queries == 1 or core.keys == 1:
        yield Obstacle("single_query", (core.softmax,), f"there is a single {'query' if core.queries == 1 else 'key'}")
    if core.broadcast and (len(core.broadcast) == 1 or core.on_scores):
        detail = f"one head of {' and '.join(core.broadcast)} is broadcast to all by the product"
        yield Obstacle("broadcast", core.products, detail)
    if core.softcap:
        yield Obstacle("softcap", core.softcap, "the scores pass a soft cap")
    if core.read_elsewhere:
        names = ", ".join(map(repr, core.read_elsewhere))
        yield Obstacle("read_elsewhere", (core.softmax,), f"{names} is a graph output, or has other readers")
    if core.transposed:
        yield Obstacle(
            "transposed", core.products, "K is the left operand, or the probabilities are the right one or transposed"
        )


def _of_types(core: AttentionCore, types: _Types) -> Iterator[Obstacle]:
    computed = {node: _type_of(node, core, types) for node in core.computing}
    wide = [link for link in core.links if link_type(link, types) == ir.DataType.FLOAT]
    inner = [link for link in core.links if link.source in computed and link.target in computed]
    if set(computed.values()) == {ir.DataType.FLOAT} and all(link in wide for link in inner):
        yield Obstacle("all_fp32", core.computing, "all of it computes in FP32")
        return
    narrow = set()
    for product in core.products:
        if computed[product] == ir.DataType.FLOAT:
            yield from _fp32_product(product, [link for link in wide if product in (link.source, link.target)])
            narrow |= {link_type(link, types) for link in core.links if product in (link.source, link.target)}
        else:
            narrow.add(computed[product])
    if narrow >= LOW_DTYPES:
        yield Obstacle("two_low_types", core.products, "one product computes in FP16, the other in BF16")


def _fp32_product(product: str, wide: Sequence[ProductLink]) -> Iterator[Obstacle]:
    """The obstacle of a product in FP32, where it also reads or writes FP32: in the `wide` links."""
    if wide:
        ends = (end for link in wide for end in (link.source, link.target) if end is not None)
        nodes = tuple(dict.fromkeys((product, *ends)))
        beside = ", ".join(repr(node) for node in nodes if node != product) or "the model's own inputs or outputs"
        yield Obstacle("fp32_product", nodes, f"the product {product!r} computes in FP32 next to {beside} in FP32")


def _type_of(node: str, core: AttentionCore, types: _Types) -> ir.DataType | None:
    own = core.element_types.get(node)
    return own if types is None else types.get(node, own)


def link_type(link: ProductLink, types: _Types) -> ir.DataType | None:
    """The narrowest type on the way; by `types` that of an end that computes in 16 bits."""
    ends = [] if types is None else [types.get(end) for end in (link.source, link.target) if end is not None]
    return next((end for end in ends if end in LOW_DTYPES), link.element_type)
