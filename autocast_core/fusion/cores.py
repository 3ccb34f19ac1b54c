"""Attention cores that an engine computes as one kernel: product, scale and mask, Softmax, product.

A core is whole where both products are 16-bit, or one member alone is in FP32 directly between Casts (Softmax, or a
product whose result is cast down at once), the head size is at most 256, and nothing else reads what lies between.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from autocast_core.fusion.readers import readers_of, source_of
from autocast_core.number_formats import LOW_DTYPES
from autocast_core.operators import element_type

_BETWEEN = frozenset({"Add", "Div", "Mul", "Sub", "Where"})
"""Operators that scale or mask the scores."""
_LARGEST_HEAD = 256


@dataclass(frozen=True)
class Core:
    """The members of one core, in graph order: first product, scale and mask, Softmax, second product."""

    nodes: tuple[ir.Node, ...]


def attention_cores(nodes: Iterable[ir.Node], known: Collection[ir.Node]) -> Iterator[Core]:
    """The cores that are one kernel; `known` are nodes that are computed when building."""
    for node in nodes:
        if node.op_type == "Softmax" and node.domain == "" and node not in known:
            core = _core_of(node)
            if core is not None and _fuses(core):
                yield core


def _core_of(softmax: ir.Node) -> Core | None:
    readers = list(dict.fromkeys(readers_of(softmax.outputs[0])))
    second = readers[0] if len(readers) == 1 else None
    if second is None or second.op_type != "MatMul":
        return None
    between: list[ir.Node] = []
    value = softmax.inputs[0]
    while value is not None and (node := source_of(value).stored.producer()) is not None:
        if len(set(readers_of(node.outputs[0]))) != 1:
            return None
        if node.op_type == "MatMul":
            return Core((node, *reversed(between), softmax, second))
        if node.op_type not in _BETWEEN:
            return None
        between.append(node)
        value = next((each for each in node.inputs if each is not None and _holds_scores(each)), None)
    return None


def _holds_scores(value: ir.Value) -> bool:
    """Whether the value comes from a product through scale and mask alone."""
    for _ in range(8):
        node = source_of(value).stored.producer()
        if node is None or (node.op_type != "MatMul" and node.op_type not in _BETWEEN):
            return False
        if node.op_type == "MatMul":
            return True
        values = [each for each in node.inputs if each is not None and source_of(each).stored.producer() is not None]
        if not values:
            return False
        value = values[-1] if node.op_type == "Where" else values[0]
    return False


def _fuses(core: Core) -> bool:
    wide = [index for index, node in enumerate(core.nodes) if element_type(node.outputs[0]) not in LOW_DTYPES]
    if len(wide) > 1 or (wide and not _is_product_or_softmax(core, wide[0])):
        return False
    query = core.nodes[0].inputs[0]
    head = query.shape[-1] if query is not None and query.shape is not None else None
    return not isinstance(head, int) or head <= _LARGEST_HEAD


def _is_product_or_softmax(core: Core, index: int) -> bool:
    return core.nodes[index].op_type in ("MatMul", "Softmax")
