"""Which node between the two products of an attention core does what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from autocast_core.attention.core import Mask, MaskForm, ProductLink, Scale
from autocast_core.attention.operands import narrowest
from autocast_core.attention.paths import PathStep, is_cast, is_layout, is_one_number, other_readers
from autocast_core.attention.products import is_key_left, sums_over
from autocast_core.attention.softmax_parts import row_statistics

_FORMS: Mapping[str, MaskForm] = {
    "Add": "added",
    "Sub": "added",
    "Sum": "added",
    "Where": "where",
    "Mul": "multiplied",
    "Div": "multiplied",
    "Neg": "multiplied",
    "Clip": "clipped",
    "Max": "clipped",
    "Min": "clipped",
}


@dataclass(frozen=True)
class Parts:
    """The nodes of a core as they were found: `before` leads from `product` to `softmax`, `after` from there to `end`,
    which is the second product and its operand that holds the probabilities. `softmax` is a Softmax and its operand, or
    the division of one in parts."""

    product: ir.Node
    before: tuple[PathStep, ...]
    softmax: PathStep
    after: tuple[PathStep, ...]
    end: PathStep

    @property
    def computing_before(self) -> tuple[ir.Node, ...]:
        """The nodes between product and Softmax that compute."""
        return _computing(self.before)

    @property
    def computing_after(self) -> tuple[ir.Node, ...]:
        """The nodes between Softmax and second product that compute: guards."""
        return _computing(self.after)

    @property
    def axis(self) -> int:
        """The axis of the Softmax, counted from the end; -1 also where its rank is not known."""
        node, value = self.softmax.node, self.softmax.value
        given = node.attributes.get_int("axis", -1) if node.op_type == "Softmax" else -1
        if given < 0 or value.shape is None:
            return min(given, -1)
        return given - len(value.shape)

    @property
    def key_at(self) -> int:
        """Which operand of the product is K: that which has the axis of the Softmax."""
        return 0 if is_key_left(self.product, self.axis) else 1


def _computing(steps: Sequence[PathStep]) -> tuple[ir.Node, ...]:
    return tuple(step.node for step in steps if not is_cast(step.node) and not is_layout(step.node))


def is_transposed(parts: Parts) -> bool | None:
    """Whether K is the left operand of its product, or the probabilities the right one of theirs, or are transposed.

    None where the second product does not sum over the axis of the Softmax.
    """
    last, left, end = parts.axis == -1, parts.end.operand == 0, parts.end.node
    turned = any(step.node.op_type == "Transpose" for step in parts.after)
    if end.op_type == "Einsum" and not turned and not sums_over(end, parts.end.operand, parts.axis):
        return None
    if end.op_type == "MatMul" and not turned and last != left:
        return None
    ahead = end.op_type != "Einsum" and any(step.node.op_type == "Transpose" for step in parts.before)
    return turned or ahead or not last or not left or parts.key_at == 0


def roles_behind(
    parts: Parts, ids: Mapping[ir.Node, str]
) -> tuple[tuple[Scale, ...], tuple[Mask, ...], tuple[str, ...], tuple[str, ...]]:
    """The scales, masks, soft cap and parts of the Softmax between the product and the Softmax or its division."""
    nodes = parts.computing_before
    operands = {step.node: step.operand for step in parts.before}
    caps, statistics = _softcap(nodes, operands), _statistics(parts)
    scales, masks, normalizing = [], [], []
    for node in nodes:
        if node in caps:
            continue
        beside = [value for place, value in enumerate(node.inputs) if place != operands[node] and value is not None]
        if node.op_type == "Exp" or any(value.producer() in statistics for value in beside):
            normalizing.append(ids[node])
        elif node.op_type in ("Mul", "Div") and _is_a_number_per_head(node.inputs[1 - operands[node]]):
            scales.append(Scale(ids[node], "behind"))
        else:
            masks.append(Mask(ids[node], _FORMS[node.op_type]))
    return tuple(scales), tuple(masks), tuple(ids[node] for node in nodes if node in caps), tuple(normalizing)


def _softcap(nodes: Sequence[ir.Node], operands: Mapping[ir.Node, int]) -> frozenset[ir.Node]:
    """Every Tanh with the scalings by one number directly before and behind it."""
    found: set[ir.Node] = set()
    for index, node in enumerate(nodes):
        if node.op_type == "Tanh":
            beside = [nodes[place] for place in (index - 1, index + 1) if 0 <= place < len(nodes)]
            scalings = [each for each in beside if each.op_type in ("Mul", "Div")]
            found |= {node, *(each for each in scalings if is_one_number(each.inputs[1 - operands[each]]))}
    return frozenset(found)


def _is_a_number_per_head(factor: ir.Value | None) -> bool:
    """Whether a factor of the scores is one number, or one for each head."""
    if is_one_number(factor):
        return True
    shape = None if factor is None else factor.shape
    return shape is not None and len(shape) > 2 and shape[-1] == 1 and shape[-2] == 1


def _members(parts: Parts) -> tuple[frozenset[ir.Node], tuple[ir.Value, ...]]:
    """The nodes from the first product to the second, and the values that they hand to each other."""
    steps = (*parts.before, parts.softmax, *parts.after, parts.end)
    values = dict.fromkeys((parts.product.outputs[0], *(step.value for step in steps)))
    return frozenset(step.node for step in steps), tuple(values)


def _statistics(parts: Parts) -> frozenset[ir.Node]:
    """The nodes that give members the maximum or the sum of rows of scores or probabilities."""
    members, values = _members(parts)
    return row_statistics(values, members)


def read_elsewhere(parts: Parts) -> tuple[str, ...]:
    """The scores and probabilities that are graph outputs or that other nodes read, by name."""
    members, values = _members(parts)
    followed = members | _statistics(parts)
    return tuple(str(value.name) for value in values if other_readers(value, followed))


def inner_links(parts: Parts, ids: Mapping[ir.Node, str]) -> tuple[ProductLink, ProductLink]:
    """From the product to what computes next, and from what computes last to the second product."""
    following = (*parts.computing_before, parts.softmax.node)[0]
    steps = (*parts.before, parts.softmax)
    ahead = [parts.product.outputs[0], *(step.value for step in _until(steps, following))]
    leading = (parts.softmax.node, *parts.computing_after)[-1]
    steps = (parts.softmax, *parts.after, parts.end)
    behind = [step.value for step in _after(steps, leading)]
    return (
        ProductLink(ids[parts.product], ids[following], narrowest(ahead)),
        ProductLink(ids[leading], ids[parts.end.node], narrowest(behind)),
    )


def _until(steps: Sequence[PathStep], node: ir.Node) -> Sequence[PathStep]:
    """The steps up to that of `node` inclusive."""
    return steps[: [step.node for step in steps].index(node) + 1]


def _after(steps: Sequence[PathStep], node: ir.Node) -> Sequence[PathStep]:
    """The steps behind that of `node`."""
    return steps[[step.node for step in steps].index(node) + 1 :]
