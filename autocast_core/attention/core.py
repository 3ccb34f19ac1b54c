"""What an attention core is made of, as plain values: node ids by role, sizes, the types around its two products."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import onnx_ir as ir

Place = Literal["query", "key", "behind"]
"""Where a scale stands: on Q or K in front of their product, or behind it."""
MaskForm = Literal["added", "where", "multiplied", "clipped"]
"""How a mask changes scores: it is added, chooses between them and a constant, is a factor, or bounds them."""


@dataclass(frozen=True)
class Scale:
    """A node that multiplies or divides Q, K or their product by one number, or by one number a head."""

    node: str
    place: Place


@dataclass(frozen=True)
class Mask:
    """A node that applies a mask, a position bias or a bound to the scores."""

    node: str
    form: MaskForm


@dataclass(frozen=True)
class ProductLink:
    """What one of the two products reads or writes, followed through casts and layout to the node at the other end.

    `source` makes the value, `target` reads it, one of them is the product; None is a graph input, an initializer or a
    graph output. `element_type` is the narrowest on the way, None where none is known.
    """

    source: str | None
    target: str | None
    element_type: ir.DataType | None


@dataclass(frozen=True)
class AttentionCore:
    """One attention core. Nodes are ids as in plans; every role but the three that make a core may be empty.

    `product` is Q Kᵀ and `p_v` the product of probabilities and V. Of a fused operator (`operator`: its type) all three
    are that one node. `softcap` are the nodes of cap · tanh(scores / cap), `normalizing` the Exp of a Softmax in parts
    and what subtracts the maximum of each row, `guards` those that change probabilities: put another number where the
    Softmax gave NaN, mask, scale. `casts` and `pass_through` (layout, Identity, Dropout) stand between other members,
    `repeats` give several query heads the same K or V. `rim_casts` stand at the border: in front of Q, K and V, and
    behind the result.

    `head_size` is what the first product sums over, `value_head_size` the columns of V, `heads` how many matrices of
    scores there are in all (batch times heads), `queries` and `keys` the rows and columns of each; each None where
    shapes do not tell. `transposed`: K is the left operand of `product`, or the probabilities are the right one of
    `p_v`, or are transposed on the way. `broadcast`: which of K and V have one head that a product broadcasts to all.
    `read_elsewhere` names scores or probabilities that are graph outputs or have other readers. `links` are what the
    products read and write; `element_types` is the type that each computing member computes in, where it is known.
    """

    product: str
    softmax: str
    p_v: str
    operator: str | None = None
    scales: tuple[Scale, ...] = ()
    masks: tuple[Mask, ...] = ()
    softcap: tuple[str, ...] = ()
    normalizing: tuple[str, ...] = ()
    guards: tuple[str, ...] = ()
    casts: tuple[str, ...] = ()
    pass_through: tuple[str, ...] = ()
    repeats: tuple[str, ...] = ()
    rim_casts: tuple[str, ...] = ()
    head_size: int | None = None
    value_head_size: int | None = None
    heads: int | None = None
    queries: int | None = None
    keys: int | None = None
    transposed: bool = False
    broadcast: tuple[Literal["K", "V"], ...] = ()
    read_elsewhere: tuple[str, ...] = ()
    links: tuple[ProductLink, ...] = ()
    element_types: Mapping[str, ir.DataType] = field(default_factory=dict)

    @property
    def computing(self) -> tuple[str, ...]:
        """The members that compute, each once: products, scales, masks, soft cap, Softmax and its parts, guards."""
        return tuple(dict.fromkeys(self._computing()))

    @property
    def members(self) -> tuple[str, ...]:
        """All nodes of the core, each once: what computes, and the casts and layout between; not `rim_casts`."""
        return tuple(dict.fromkeys((*self._computing(), *self.casts, *self.pass_through, *self.repeats)))

    @property
    def products(self) -> tuple[str, ...]:
        """The nodes of the two products, one of a fused operator."""
        return tuple(dict.fromkeys((self.product, self.p_v)))

    def beside(self, products: Collection[str]) -> frozenset[str]:
        """What makes the operands of these of its products, or reads their results."""
        links = ({link.source, link.target} for link in self.links)
        ends = frozenset(end for each in links if not each.isdisjoint(products) for end in each if end is not None)
        return ends.difference(products)

    @property
    def on_scores(self) -> tuple[str, ...]:
        """The members that compute between the first product and the Softmax, or its division."""
        behind = (scale.node for scale in self.scales if scale.place == "behind")
        return (*behind, *self.softcap, *(mask.node for mask in self.masks), *self.normalizing)

    def _computing(self) -> Iterator[str]:
        yield from (scale.node for scale in self.scales if scale.place != "behind")
        yield self.product
        yield from self.on_scores
        yield self.softmax
        yield from self.guards
        yield self.p_v
