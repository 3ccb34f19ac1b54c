"""Pass `masked_rows`: a row of scores with every key masked stays what it is in FP32.

Exporters add a mask of 0 and -3.4e38 to the scores. In FP32 the sum of any score and -3.4e38 is -3.4e38, so that a row
with every key masked (padding in front of a prompt) is uniform behind the Softmax. The mask that FP16 can hold, see
`masks`, does not swallow scores: what is added to it decides the row, and rounding to multiples of 16 decides that.

- Turns the Add of scores and such a mask into a Where that selects the mask's value or the score: the same bits in
  FP32, and a uniform row in FP16 too. The condition is that of the mask's own Where, else a comparison of the mask.
- Acts where a Softmax follows, and where the graph shows that the mask holds 0 and one number of at most -1e30 and
  nothing else: by constants, Where, Trilu, casts of booleans, their sums and products, and layout. Integers that a
  caller passes are taken to be 0 or 1 there, as pass `masks` takes them.
- Does not act on other masks: -1e4 and -1e9 do not swallow every score in FP32 either, and what a caller passes can be
  anything; nor where the scores hold another mask, as two of them make -inf; nor for BF16, whose largest mask swallows
  scores; nor with ``repair_ranges`` off.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import onnx_ir as ir

from autocast_core.config import ConversionConfig, Precision
from autocast_core.graph.constants import constant_tensor, drop_if_unread
from autocast_core.graph.names import UnusedNames, unused_names
from autocast_core.graph.walk import all_nodes
from autocast_core.operators.families import MOVES_ELEMENTS, is_in
from autocast_core.sanitize.change import Change
from autocast_core.sanitize.range_repairs.softmax_ahead import leads_to_softmax

STEP = "masked_rows"
SWALLOWS = -1e30
"""A number of at least this magnitude, added to a score below 10^22, is the sum: half its last place is larger."""
_MOST_ELEMENTS = 1 << 22
_FIRST_ELEMENTS = 1024
_MOST_NUMBERS = 4
_BEHIND_SCORES = frozenset({"Add", "Sub", "Mul", "Div", "Where", "Cast", "Max", "Min", "Tanh", "Clip"}) | MOVES_ELEMENTS

_WHOLE = (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.INT8, ir.DataType.UINT8)

Numbers = frozenset[float]
_BINARY: Numbers = frozenset({0.0, 1.0})


def keep_masked_rows(model: ir.Model, config: ConversionConfig) -> tuple[Change, ...]:
    """Select masks instead of adding them; see the module. `Change.nodes` are the nodes that were changed."""
    if not config.repair_ranges or config.precision is not Precision.FP16:
        return ()
    known = _KnownNumbers()
    found = list(_masked_sums(model, known))
    if not found:
        return ()
    change = _Selection(unused_names(model.graph), known)
    for node, mask, low in found:
        change.select(node, mask, low)
    detail = f"{len(found)} sums of scores and a mask select the mask's value instead: rows with all keys masked stay"
    return (Change(STEP, detail, tuple(str(node.name) for node, _, _ in found)),)


def _masked_sums(model: ir.Model, known: _KnownNumbers) -> Iterator[tuple[ir.Node, int, float]]:
    """The Adds to change, which of their inputs is the mask, and its number."""
    for node in all_nodes(model.graph):
        if not is_in(node, frozenset({"Add"})) or node.outputs[0].dtype != ir.DataType.FLOAT:
            continue
        if not leads_to_softmax(node.outputs[0]):
            continue
        lows = [_low(known.of(value)) for value in node.inputs]
        if (lows[0] is None) == (lows[1] is None):
            continue
        mask = 0 if lows[0] is not None else 1
        low = lows[mask]
        if low is not None and not _holds_mask(node.inputs[1 - mask], known):
            yield node, mask, low


def _low(numbers: Numbers | None) -> float | None:
    """The number of a mask that holds 0 and that number."""
    if numbers is None or len(numbers) != 2 or 0.0 not in numbers:
        return None
    low = min(numbers)
    return low if -np.inf < low <= SWALLOWS else None


def _holds_mask(scores: ir.Value | None, known: _KnownNumbers) -> bool:
    pending, seen = [scores], set[ir.Value]()
    while pending:
        value = pending.pop()
        if value is None or value in seen:
            continue
        seen.add(value)
        numbers = known.of(value)
        if numbers is not None and min(numbers, default=0.0) <= -1e3:
            return True
        node = value.producer()
        if node is not None and is_in(node, _BEHIND_SCORES):
            pending.extend(node.inputs)
    return False


@dataclass
class _KnownNumbers:
    """Which numbers a value can hold, where the graph shows that they are few."""

    _found: dict[ir.Value, Numbers | None] = field(default_factory=dict)

    def of(self, value: ir.Value | None) -> Numbers | None:
        if value is None:
            return None
        pending = [value]
        while pending:
            top = pending[-1]
            if top in self._found:
                pending.pop()
                continue
            unknown = [each for each in _depends_on(top) if each not in self._found]
            if unknown:
                pending.extend(unknown)
                continue
            self._found[top] = self._numbers(top)
            pending.pop()
        return self._found[value]

    def _numbers(self, value: ir.Value) -> Numbers | None:
        tensor, node = constant_tensor(value), value.producer()
        if tensor is not None:
            return _held(tensor)
        if node is None or node.domain != "":
            return _BINARY if value.dtype in (ir.DataType.BOOL, *_WHOLE) and tensor is None else None
        if node.op_type == "ConstantOfShape":
            attribute = node.attributes.get("value")
            return frozenset({0.0}) if attribute is None else _held(attribute.as_tensor())
        sets = [self._found[each] for each in _depends_on(value)]
        if node.op_type == "Where" and _is_cast_of(node.inputs[0], node.inputs[2]):
            sets[1] = frozenset({0.0})  # where x is not true, x is 0
        if value.dtype == ir.DataType.BOOL:
            return _BINARY
        if not sets or any(each is None for each in sets):
            return None
        return _few(_combined(node.op_type, [each for each in sets if each is not None]))


def _depends_on(value: ir.Value) -> list[ir.Value]:
    """The values whose numbers say which numbers `value` holds."""
    node = value.producer()
    if node is None or node.domain != "" or constant_tensor(value) is not None:
        return []
    if node.op_type in MOVES_ELEMENTS | {"Trilu", "Cast"}:
        inputs = [node.inputs[0]]
    elif node.op_type in ("Add", "Sub", "Mul"):
        inputs = list(node.inputs)
    elif node.op_type == "Where":
        inputs = list(node.inputs[1:])
    else:
        return []
    return [each for each in inputs if each is not None]


def _combined(op_type: str, sets: list[Numbers]) -> Numbers:
    with np.errstate(over="ignore", invalid="ignore"):
        if op_type in ("Add", "Sub", "Mul") and len(sets) == 2:
            of = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply}[op_type]
            return frozenset(float(of(np.float32(left), np.float32(right))) + 0.0 for left, right in product(*sets))
    numbers = frozenset[float]().union(*sets)
    return numbers | {0.0} if op_type == "Trilu" else numbers


def _held(tensor: ir.TensorProtocol) -> Numbers | None:
    if not 0 < tensor.size <= _MOST_ELEMENTS or tensor.dtype == ir.DataType.STRING:
        return None
    array = tensor.numpy().reshape(-1)
    for part in (array[:_FIRST_ELEMENTS], array):  # most constants hold many numbers, which the first ones show
        numbers = _few(frozenset(float(number) + 0.0 for number in np.unique(part)[: _MOST_NUMBERS + 1]))
        if numbers is None:
            return None
    return numbers


def _few(numbers: Numbers) -> Numbers | None:
    return numbers if len(numbers) <= _MOST_NUMBERS and not any(np.isnan(number) for number in numbers) else None


def _is_cast_of(condition: ir.Value | None, value: ir.Value | None) -> bool:
    node = condition.producer() if condition is not None else None
    return node is not None and is_in(node, frozenset({"Cast"})) and node.inputs[0] is value is not None


@dataclass
class _Selection:
    """Puts Where in the place of Add; masks that are compared are compared once."""

    names: UnusedNames
    known: _KnownNumbers
    _compared: dict[ir.Value, ir.Value] = field(default_factory=dict)

    def select(self, node: ir.Node, mask: int, low: float) -> None:
        """Select `low` or the scores, under the name of the Add `node`."""
        scores, masked, graph, old = node.inputs[1 - mask], node.inputs[mask], node.graph, node.outputs[0]
        assert scores is not None and masked is not None and isinstance(graph, ir.Graph)
        condition, of_low = self._condition(masked, node)
        number = self._literal(low, f"{node.name}_masked", graph)
        branches = [number, scores] if of_low else [scores, number]
        selected = ir.Node(
            "", "Where", [condition, *branches], num_outputs=1, name=node.name, metadata_props=dict(node.metadata_props)
        )
        new = selected.outputs[0]
        new.name, new.type, new.shape = old.name, old.type, old.shape
        ir.convenience.replace_nodes_and_values(graph, node, [node], [selected], [old], [new])
        _drop_if_dead(masked)

    def _condition(self, masked: ir.Value, node: ir.Node) -> tuple[ir.Value, bool]:
        """What tells masked elements from others, and whether it is true for masked ones."""
        maker = masked.producer()
        if maker is not None and is_in(maker, frozenset({"Where"})) and maker.inputs[0] is not None:
            condition, *branches = maker.inputs
            sets = [self.known.of(each) for each in branches]
            if _is_cast_of(condition, branches[1]):
                sets[1] = frozenset({0.0})
            same = condition is not None and condition.shape is not None and condition.shape == masked.shape
            alone = same or all(_is_single(each) for each in branches)
            if condition is not None and alone and all(each is not None and len(each) == 1 for each in sets):
                return condition, sets[0] != frozenset({0.0})
        if masked not in self._compared:
            self._compared[masked] = self._comparison(masked, node)
        return self._compared[masked], True

    def _comparison(self, masked: ir.Value, node: ir.Node) -> ir.Value:
        graph, maker = node.graph, masked.producer()
        assert isinstance(graph, ir.Graph)
        limit = self._literal(SWALLOWS / 1e3, f"{masked.name}_limit", graph)
        less = ir.Node("", "Less", [masked, limit], num_outputs=1, name=self.names.fresh(f"{masked.name}_compared"))
        condition = less.outputs[0]
        condition.name = self.names.fresh(f"{masked.name}_is_masked")
        condition.type, condition.shape = ir.TensorType(ir.DataType.BOOL), masked.shape
        if maker is not None and maker.graph is graph:
            graph.insert_after(maker, less)
        else:
            graph.insert_before(graph[0], less)
        return condition

    def _literal(self, number: float, name: str, graph: ir.Graph) -> ir.Value:
        fresh = self.names.fresh(name)
        tensor = ir.tensor(np.array(number, np.float32), name=fresh)
        value = ir.Value(name=fresh, type=ir.TensorType(tensor.dtype), shape=ir.Shape(()), const_value=tensor)
        graph.register_initializer(value)
        return value


def _is_single(value: ir.Value | None) -> bool:
    """Whether `value` is a constant of one element, which changes no shape of what it is selected beside."""
    tensor = constant_tensor(value)
    return tensor is not None and tensor.size == 1


def _drop_if_dead(value: ir.Value) -> None:
    """Remove what only made `value`, where nothing reads it any more."""
    node = value.producer()
    if value.uses() or value.is_graph_output() or node is None or node.graph is None or len(node.outputs) != 1:
        return
    inputs = [each for each in node.inputs if each is not None]
    node.graph.remove(node, safe=True)
    for each in inputs:
        if constant_tensor(each) is not None:
            drop_if_unread(each)
        elif is_in(node, MOVES_ELEMENTS | {"Where", "Trilu", "Cast"}):
            _drop_if_dead(each)
