"""What stands in front of Q, K and V, and behind the result: scales, repeated heads, casts, types on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from autocast_core.attention.core import ProductLink
from autocast_core.attention.paths import CASTS, LAYOUT, back_through, is_cast, is_one_number
from autocast_core.number_formats import LOW_DTYPES, PRECISION_DTYPES
from autocast_core.operators.families import MOVES_ELEMENTS, is_in

_REPEATS = frozenset({"Expand", "Tile"})
_NEAR = LAYOUT | CASTS
_FAR = MOVES_ELEMENTS | CASTS | {"Dropout"}


@dataclass(frozen=True)
class Operand:
    """One of Q, K and V as its product reads it: nodes between a scale or a repetition and the product, the scale,
    casts at the border, and the link to the node that makes it."""

    link: ProductLink
    scale: ir.Node | None = None
    between: tuple[ir.Node, ...] = ()
    repeats: tuple[ir.Node, ...] = ()
    rim_casts: tuple[ir.Node, ...] = ()


def operand(product: ir.Node, index: int, ids: Mapping[ir.Node, str]) -> Operand:
    """What operand `index` of `product` is made of."""
    value = product.inputs[index]
    near, values = back_through(value, _NEAR | _REPEATS)
    last = max((place for place, node in enumerate(near) if is_in(node, _REPEATS)), default=-1)
    repeats = near[: last + 1]
    if repeats and len(near) > last + 1 and near[last + 1].op_type in ("Unsqueeze", "Reshape"):
        repeats = near[: last + 2]
    scale = values[-1].producer() if values and not repeats else None
    if scale is not None and _scales(scale):
        link = ProductLink(ids[scale], ids[product], narrowest(values))
        return Operand(link, scale, between=near)
    source, all_values = back_through(value, _FAR)
    maker = all_values[-1].producer() if all_values else None
    link = ProductLink(ids.get(maker) if maker is not None else None, ids[product], narrowest(all_values))
    return Operand(link, repeats=repeats, rim_casts=tuple(n for n in source if is_cast(n) and n not in repeats))


def _scales(node: ir.Node) -> bool:
    if node.domain != "" or node.op_type not in ("Mul", "Div") or len(node.inputs) != 2:
        return False
    factors = node.inputs[1:] if node.op_type == "Div" else node.inputs
    return any(is_one_number(factor) for factor in factors) and not all(map(is_one_number, node.inputs))


def results(p_v: ir.Node, ids: Mapping[ir.Node, str]) -> tuple[tuple[ProductLink, ...], tuple[ir.Node, ...]]:
    """The links from `p_v` to what reads its result, and the casts directly behind it, through layout."""
    links: dict[ProductLink, None] = {}
    casts: dict[ir.Node, None] = {}
    pending: list[tuple[ir.Value, tuple[ir.Value, ...]]] = [(p_v.outputs[0], (p_v.outputs[0],))]
    while pending:
        value, values = pending.pop()
        if value.is_graph_output():
            links[ProductLink(ids[p_v], None, narrowest(values))] = None
        for node, index in value.uses():
            if index == 0 and is_in(node, _FAR):
                if is_cast(node):
                    casts[node] = None
                pending += ((each, (*values, each)) for each in node.outputs)
            else:
                links[ProductLink(ids[p_v], ids.get(node), narrowest(values))] = None
    return tuple(links), tuple(casts)


def narrowest(values: Sequence[ir.Value]) -> ir.DataType | None:
    """The 16-bit type among those of `values`, else FP32 where one has it; None where no type is known."""
    types = [value.dtype for value in values if value.dtype in PRECISION_DTYPES]
    return next((dtype for dtype in types if dtype in LOW_DTYPES), types[0] if types else None)


def computing_type(node: ir.Node) -> ir.DataType | None:
    """The floating-point type that a node of a core computes in: of its first operand or result that has one."""
    return next(_float_types(node), None)


def _float_types(node: ir.Node) -> Iterator[ir.DataType]:
    for value in (*node.inputs, *node.outputs):
        if value is not None and value.dtype in PRECISION_DTYPES:
            assert value.dtype is not None
            yield value.dtype
