"""Pass `masks`: additive attention masks stay finite in the low type.

An exporter writes "not this key" as −3.4e38, −1e9 or −65504, added to the scores before a Softmax. In FP16 that becomes
−inf, or does when a score is added, and a row of −inf gives NaN; it also makes the tensor look too large for FP16.

- Replaces the elements of mask constants beyond `largest_mask` by that value, sign kept. exp() of it, relative to the
  largest score of its row, still is 0 in FP32, so a row that leaves any key unmasked does not change; a row with every
  key masked, which means nothing, may.
- Does not act on −inf or NaN, which 16 bits can hold; on constants that reach anything but a Softmax or an Attention's
  mask, or reach it through more than layout, additions, selections and a 0-or-1 factor; on values within range; nor
  with ``config.clamp_masks`` off.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from autocast_core.config import ConversionConfig, Precision
from autocast_core.graph.constants import constant_tensor, scalar
from autocast_core.graph.names import defined_values
from autocast_core.graph.walk import all_graphs, all_nodes
from autocast_core.model.tensors import chunks
from autocast_core.operators.families import FILLS, MOVES_ELEMENTS
from autocast_core.sanitize.change import Change

MASK_MAGNITUDE = 1e3
"""From here on a constant that is added before a Softmax is a mask: in FP32, exp(-1e3) is 0."""

_SMALLEST_FACTOR = 1 / 32
_LAYOUT = MOVES_ELEMENTS | FILLS | {"CastLike"}
"""Operators whose outputs hold elements of input 0, or zeros."""
_MERGING = frozenset({"Concat", "Max", "Min", "ScatterND", "ScatterElements"})
"""Operators whose outputs hold elements of any float input."""
_ENDS: Mapping[str, int] = {"Softmax": 0, "Attention": 3}
"""Where a mask may end: operator and input."""
_INTEGERS = frozenset(
    {ir.DataType.BOOL, ir.DataType.INT64, ir.DataType.INT32, ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT16}
)


@dataclass(frozen=True)
class MaskPath:
    """Where a mask begins, and the values and nodes from there to the Softmax inclusive, by name.

    `sums` is how many masks may meet in one sum on the way. The values are those that hold masked scores or the mask;
    `signs` says of each whether its mask is at the lower (-1) or the upper end (1).
    """

    constant: str
    sign: int
    sums: int
    values: tuple[str, ...]
    nodes: tuple[str, ...]
    signs: tuple[int, ...] = ()


def largest_mask(precision: Precision, sums: int) -> float:
    """The magnitude that replaces larger ones where up to `sums` masks are added: 3e4 for FP16, 1e38 for BF16.

    Two of them and any score stay finite; for more than two masks it is divided accordingly.
    """
    return {Precision.FP16: 3e4, Precision.BF16: 1e38}[precision] * 2 / max(2, sums)


def clamp_masks(model: ir.Model, config: ConversionConfig) -> tuple[Change, ...]:
    """Clamp the constants of masks; see the module. `Change.nodes` are the nodes from constant to Softmax."""
    if not config.clamp_masks:
        return ()
    changes = []
    paths = mask_paths(model)
    constants = {str(value.name): value for value in _candidates(model)} if paths else {}
    for path in paths:
        limit = np.float32(largest_mask(config.precision, path.sums))
        value = constants[path.constant]
        count = _clamp(value, path.sign, limit)
        if count:
            detail = f"{count} elements of mask {path.constant!r} beyond {limit:g} in magnitude were set to it"
            changes.append(Change("masks", detail, path.nodes))
    return tuple(changes)


def mask_paths(model: ir.Model, suspects: Iterable[ir.Value] = ()) -> tuple[MaskPath, ...]:
    """The masks of the main graph and all bodies: constants of any magnitude from MASK_MAGNITUDE on, infinity included.

    `suspects` are further values that may be a mask's beginning, because their elements are seen to be as negative.
    """
    if not any(node.domain == "" and node.op_type in _ENDS for node in all_nodes(model.graph)):
        return ()
    walk = _Walk()
    found = []
    origins = [(value, sign) for value in _candidates(model) for sign in (-1, 1)]
    for value, sign in (*origins, *((suspect, -1) for suspect in suspects)):
        constant = _mask_tensor(value) is not None
        if walk.reaches_softmax_only(value, sign) and (not constant or _has_mask(value, sign)):
            values, nodes = walk.collect(value, sign)
            found.append((value, sign, values, nodes))
    meetings = _meetings([nodes for _, _, _, nodes in found])
    return tuple(
        MaskPath(
            str(value.name),
            sign,
            sums,
            tuple(str(v.name) for v, _ in values.values()),
            tuple(str(n.name) for n in nodes.values()),
            tuple(end for _, end in values.values()),
        )
        for (value, sign, values, nodes), sums in zip(found, meetings, strict=True)
    )


def _meetings(paths: list[dict[int, ir.Node]]) -> list[int]:
    """For each path the largest number of masks that meet in one of its Add or Sub nodes."""
    counts: dict[int, int] = {}
    for nodes in paths:
        for key, node in nodes.items():
            if node.op_type in ("Add", "Sub"):
                counts[key] = counts.get(key, 0) + 1
    return [max((counts.get(key, 1) for key in nodes), default=1) for nodes in paths]


def _candidates(model: ir.Model) -> Iterator[ir.Value]:
    """FP32 constants: initializers, Constant and ConstantOfShape nodes, read by operators that may carry a mask."""
    for graph in all_graphs(model.graph):
        for value in defined_values(graph):
            if value.dtype == ir.DataType.FLOAT and not value.is_graph_output() and _mask_tensor(value) is not None:
                yield value


def _mask_tensor(value: ir.Value) -> ir.TensorProtocol | None:
    node = value.producer()
    if node is not None and node.op_type == "ConstantOfShape" and node.domain == "":
        attribute = node.attributes.get("value")
        tensor = attribute.as_tensor() if attribute is not None and not attribute.is_ref() else None
    else:
        tensor = constant_tensor(value)
    return tensor if tensor is not None and tensor.dtype == ir.DataType.FLOAT else None


def _has_mask(value: ir.Value, sign: int) -> bool:
    tensor = _mask_tensor(value)
    assert tensor is not None
    return any(bool((block * sign >= MASK_MAGNITUDE).any()) for block in chunks(tensor))


def _clamp(value: ir.Value, sign: int, limit: np.float32) -> int:
    """Replaces the constant's elements beyond `limit` (of that sign); returns how many."""
    tensor = _mask_tensor(value)
    assert tensor is not None
    array = tensor.numpy()
    beyond = np.isfinite(array) & (array * sign > limit)
    count = int(np.count_nonzero(beyond))
    if not count:
        return 0
    replaced = ir.tensor(np.where(beyond, limit * sign, array).astype(np.float32), name=tensor.name)
    node = value.producer()
    if node is None:
        value.const_value = replaced
    else:
        node.attributes["value"] = ir.AttrTensor("value", replaced)
    return count


@dataclass
class _Walk:
    """Follows mask values forward; remembers what it learned, so that all masks together cost one pass."""

    _safe: dict[tuple[int, int], bool] = field(default_factory=dict)
    _binary: dict[int, bool] = field(default_factory=dict)

    def reaches_softmax_only(self, value: ir.Value, sign: int) -> bool:
        """Whether every use of `value`, a mask of that sign, leads to a Softmax through what a mask survives."""
        pending = [(value, sign)]
        while pending:
            key = (id(pending[-1][0]), pending[-1][1])
            top, top_sign = pending[-1]
            if key in self._safe:
                pending.pop()
                continue
            steps = self._steps(top, top_sign)
            if steps is None:
                self._safe[key] = False
                pending.pop()
                continue
            unknown = [step for step in steps if (id(step[0]), step[1]) not in self._safe]
            if unknown:
                pending.extend(unknown)
                continue
            self._safe[key] = all(self._safe[id(step), step_sign] for step, step_sign in steps)
            pending.pop()
        return self._safe[id(value), sign]

    def collect(self, value: ir.Value, sign: int) -> tuple[dict[int, tuple[ir.Value, int]], dict[int, ir.Node]]:
        """The values with their signs and the nodes on the way from `value` on, nodes that end it included."""
        values: dict[int, tuple[ir.Value, int]] = {}
        nodes: dict[int, ir.Node] = {}
        pending = [(value, sign)]
        while pending:
            top, top_sign = pending.pop()
            if id(top) in values:
                continue
            values[id(top)] = top, top_sign
            nodes.update((id(node), node) for node, _ in top.uses())
            pending.extend(self._steps(top, top_sign) or ())
        return values, nodes

    def _steps(self, value: ir.Value, sign: int) -> list[tuple[ir.Value, int]] | None:
        """The masks that the readers of `value` make of it; None where one of them takes no mask."""
        if value.is_graph_output() or not value.uses():
            return None
        steps: list[tuple[ir.Value, int]] = []
        for node, index in value.uses():
            step = self._step(node, index, value, sign) if node.domain == "" else None
            if step is None:
                return None
            steps.extend(step)
        return steps

    def _step(self, node: ir.Node, index: int, value: ir.Value, sign: int) -> list[tuple[ir.Value, int]] | None:
        same = [(output, sign) for output in node.outputs if output.name]
        kind = node.op_type
        if kind in _ENDS:
            return [] if sign < 0 and index == _ENDS[kind] else None
        if kind == "Equal":
            return [] if scalar(node.inputs[1 - index]) == 0 else None
        if kind == "Cast":
            return same if node.outputs[0].dtype == ir.DataType.FLOAT else None
        if (kind in _LAYOUT and index == 0) or (kind == "Where" and index > 0) or kind == "Add" or kind in _MERGING:
            return same
        if kind == "Neg" or (kind == "Sub" and index == 1):
            return [(node.outputs[0], -sign)]
        if kind == "Sub":
            return same
        if kind == "Mul":
            other = node.inputs[1 - index]
            return same if other is not value and (_is_scale(other) or self.is_binary(other)) else None
        if kind == "Div" and index == 0:
            return same if _is_divisor(node.inputs[1]) else None
        return None

    def is_binary(self, value: ir.Value | None) -> bool:
        """Whether the elements are a caller's or computed 0-or-1 mask, as far as the graph tells."""
        if value is None:
            return False
        if id(value) not in self._binary:
            self._binary[id(value)] = False
            self._binary[id(value)] = self._looks_binary(value)
        return self._binary[id(value)]

    def _looks_binary(self, value: ir.Value) -> bool:
        tensor = constant_tensor(value)
        if tensor is not None:
            return tensor.size <= 1 << 24 and bool(np.isin(tensor.numpy(), (0, 1)).all())
        node = value.producer()
        if node is None:
            return value.is_graph_input()
        if node.domain != "":
            return False
        if node.op_type == "Cast":
            source = node.inputs[0]
            return source is not None and (source.dtype in _INTEGERS or self.is_binary(source))
        if node.op_type == "Sub":
            return scalar(node.inputs[0]) == 1 and self.is_binary(node.inputs[1])
        if node.op_type == "Where":
            return all(self.is_binary(branch) for branch in node.inputs[1:])
        if node.op_type in ("Mul", "Min", "Max", "Concat"):
            return all(self.is_binary(factor) for factor in node.inputs)
        if node.op_type in _LAYOUT:
            return self.is_binary(node.inputs[0])
        return node.op_type == "ConstantOfShape" and _fills_binary(node)


def _fills_binary(node: ir.Node) -> bool:
    attribute = node.attributes.get("value")
    return attribute is None or bool(np.isin(attribute.as_tensor().numpy(), (0, 1)).all())


def _is_scale(value: ir.Value | None) -> bool:
    number = scalar(value)
    return number is not None and _SMALLEST_FACTOR <= number <= 1


def _is_divisor(value: ir.Value | None) -> bool:
    number = scalar(value)
    return number is not None and 1 <= number <= 1 / _SMALLEST_FACTOR
