"""Which node between the two products of an attention core does what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from autocast_core.attention.core import Mask, MaskForm, ProductLink, Scale
from autocast_core.attention.operands import narrowest
from autocast_core.attention.paths import PathStep, is_cast, is_layout, is_one_number, other_readers

_FORMS: Mapping[str, MaskForm] = {
    "Add": "added",
    "Sub": "added",
    "Where": "where",
    "Mul": "multiplied",
    "Div": "multiplied",
    "Clip": "clipped",
    "Max": "clipped",
    "Min": "clipped",
}


@dataclass(frozen=True)
class Parts:
    """The nodes of a core as they were found: `before` leads from `product` to `softmax`, `after` from there to `end`,
    which is the second product and its operand that holds the probabilities."""

    product: ir.Node
    before: tuple[PathStep, ...]
    softmax: ir.Node
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
    def key_at(self) -> int:
        """Which operand of the product is K: the left one where the Softmax does not run along the last axis."""
        return 1 if runs_along_last_axis(self.softmax) else 0


def _computing(steps: Sequence[PathStep]) -> tuple[ir.Node, ...]:
    return tuple(step.node for step in steps if not is_cast(step.node) and not is_layout(step.node))


def runs_along_last_axis(softmax: ir.Node) -> bool:
    """Whether the Softmax's axis is the last one; also where its rank is not known and it counts from the front."""
    axis = softmax.attributes.get_int("axis", -1)
    value = softmax.inputs[0]
    if axis < 0 or value is None or value.shape is None:
        return axis >= -1
    return axis == len(value.shape) - 1


def is_transposed(parts: Parts) -> bool | None:
    """Whether the probabilities are the right operand of the second product, or are transposed on the way.

    None where the second product does not sum over the axis of the Softmax.
    """
    last, left = runs_along_last_axis(parts.softmax), parts.end.operand == 0
    turned = any(step.node.op_type == "Transpose" for step in parts.after)
    if parts.end.node.op_type == "Einsum":
        return turned or not last
    if parts.end.node.op_type == "MatMul" and not turned and last != left:
        return None
    return turned or not last or not left or any(step.node.op_type == "Transpose" for step in parts.before)


def roles_behind(
    parts: Parts, ids: Mapping[ir.Node, str]
) -> tuple[tuple[Scale, ...], tuple[Mask, ...], tuple[str, ...]]:
    """The scales, masks and soft cap between the product and the Softmax."""
    nodes = parts.computing_before
    operands = {step.node: step.operand for step in parts.before}
    caps = _softcap(nodes, operands)
    scales, masks = [], []
    for node in nodes:
        if node in caps:
            continue
        if node.op_type in ("Mul", "Div") and _is_a_number_per_head(node.inputs[1 - operands[node]]):
            scales.append(Scale(ids[node], "behind"))
        else:
            masks.append(Mask(ids[node], _FORMS[node.op_type]))
    return tuple(scales), tuple(masks), tuple(ids[node] for node in nodes if node in caps)


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


def read_elsewhere(parts: Parts) -> tuple[str, ...]:
    """The scores and probabilities that are graph outputs or that other nodes read, by name."""
    steps = (*parts.before, PathStep(parts.softmax, 0), *parts.after, parts.end)
    followed = frozenset(step.node for step in steps)
    values = dict.fromkeys((parts.product.outputs[0], *(step.value for step in steps)))
    return tuple(str(value.name) for value in values if other_readers(value, followed))


def inner_links(parts: Parts, ids: Mapping[ir.Node, str]) -> tuple[ProductLink, ProductLink]:
    """From the product to what computes next, and from what computes last to the second product."""
    following = (*parts.computing_before, parts.softmax)[0]
    steps = (*parts.before, PathStep(parts.softmax, 0))
    ahead = [parts.product.outputs[0], *(step.value for step in _until(steps, following))]
    leading = (parts.softmax, *parts.computing_after)[-1]
    steps = (PathStep(parts.softmax, 0), *parts.after, parts.end)
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
