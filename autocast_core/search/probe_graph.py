"""One graph that computes every node several times side by side, so that one pass tells where errors come from.

Beside each exact value of the model's main graph stands its *low* version, as the fully lowered model would have it:
from low inputs, with rounded weights, rounded. Each node is computed once more with one low input at a time and the
rest exact, once with only its weights rounded, and once with exact inputs rounded right there (its local error). What
leaves the graph are sums of squared differences, a short vector for each value.

Low values saturate at the range of their type instead of becoming infinite, and NaN becomes 0: an overflow is then a
large error like any other, which can be followed to the outputs; it is counted beside it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from autocast_core.config import Precision
from autocast_core.graph.names import unused_names
from autocast_core.graph.walk import bodies, nodes_with_ids
from autocast_core.operators import OperandPolicy, float_operands
from autocast_core.simulate.roundtrip import RoundTrips, put_first

_FLOAT = ir.DataType.FLOAT
_UNEQUAL_SHAPES = frozenset({"Compress", "NonMaxSuppression", "NonZero", "Unique"})
_RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
ENERGY, FRESH, TOTAL, WEIGHTS, LOCAL, OVERFLOW, UNDERFLOW, NAN = range(8)
"""Places in a value's vector; from 8 on the errors that each of `Probe.inputs` hands on. See Probe."""


@dataclass(frozen=True)
class Probe:
    """What is measured at one value, in sums over its elements, y being the exact one:

    y^2; the rounding newly done there; (low - y)^2; what rounded weights alone do; what the node alone does (exact
    inputs, rounded there); |y| beyond the range of the type; y other than 0 that rounds to 0; NaN in y; and for each
    of `inputs` what its low version alone does. `node` is None for a graph input.
    """

    value: str
    node: str | None
    inputs: tuple[str, ...] = ()
    moved: bool = False


@dataclass
class ProbeGraph:
    """The instrumented model; the outputs of a run are one vector for each of `probes`, in their order."""

    model: ir.Model
    probes: tuple[Probe, ...]


def probe_graph(
    model: ir.Model, low: Mapping[str, Precision], precision: Precision, policy: OperandPolicy
) -> ProbeGraph:
    """The instrumented copy of a sanitized `model`; `low` has the nodes, by id, that the lowest plan lowers, `policy`
    says which of their operands.

    Bodies of control flow are part of their node. Weights are shared with `model`.
    """
    copy = model.clone()
    builder = _Builder(copy, low, precision, policy)
    builder.run()
    return ProbeGraph(copy, tuple(builder.probes))


@dataclass
class _Builder:
    model: ir.Model
    low: Mapping[str, Precision]
    precision: Precision
    policy: OperandPolicy
    probes: list[Probe] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.trips = RoundTrips(self.model)
        self.names = unused_names(self.model.graph).numbered("attribution")
        self.graph = self.model.graph
        self.ids = {node: node_id for node_id, node in nodes_with_ids(self.graph)}
        self.lowered: dict[ir.Value, ir.Value] = {}
        self.stored: set[ir.Value] = set()
        self.rounded: dict[ir.Value, ir.Value] = {}
        self.clones: dict[object, tuple[ir.Value, ...]] = {}
        self.constants: dict[object, ir.Value] = {}
        self.at_start: list[ir.Node] = []
        self.added: list[ir.Node] = []
        self.vectors: list[list[ir.Node]] = []
        self.results: list[ir.Value] = []

    def run(self) -> None:
        nodes = list(self.graph)
        for value in self.graph.inputs:
            if _is_float(value) and any(self._moves(node, index) for node, index in value.uses()):
                self._store(value, value)
                self._finish(Probe(str(value.name), None, moved=True), value, value, None, None, [])
        for node in nodes:
            self._node(node)
        self.graph.extend(self.added)
        # ONNX Runtime takes leaves last in, first out; in forward order every intermediate would stay alive.
        for group in reversed(self.vectors):
            self.graph.extend(group)
        put_first(self.graph, self.at_start)
        self.graph.outputs[:] = self.results

    def _node(self, node: ir.Node) -> None:
        if node.op_type in ("Constant", *_RANDOM, *_UNEQUAL_SHAPES):
            return
        measured = [v for v in node.outputs if v.name and _is_measurable(v)]
        reads = tuple(dict.fromkeys(_reads(node)))
        moved = set(self._moved(node))
        arriving = {v: self._arriving(v, v in moved) for v in reads if v in self.lowered}
        arriving = {v: low for v, low in arriving.items() if _is_float(v) or v.dtype == ir.DataType.BOOL}
        # What nothing before has made inexact is rounded here alone: weights, and numbers made from integers.
        weights = {v: self._rounded(v) for v in reads if v in moved and v not in self.lowered}
        is_low = self.ids[node] in self.low and bool(moved or self._moved_outputs(node))
        if not measured or not (arriving or is_low):
            return
        everything = self._clone(node, {**arriving, **weights}, inner=is_low)
        alone = self._clone(node, weights) if weights else None
        local = self._clone(node, {v: self._rounded(v) for v in reads if v in moved}, inner=True) if is_low else None
        one_each = {v: self._clone(node, {v: low}) for v, low in arriving.items()}
        out_moves = self._moved_outputs(node)
        for index, value in enumerate(node.outputs):
            if value not in measured:
                continue
            moves = is_low and index in out_moves
            low = everything[index]
            if moves:
                self._store(value, low)
            elif _is_float(value) or value.dtype == ir.DataType.BOOL:
                self.lowered[value] = low
            probe = Probe(str(value.name), self.ids[node], tuple(str(v.name) for v in one_each), moves)
            self._finish(
                probe,
                value,
                low,
                None if alone is None else alone[index],
                None if local is None else (self._low(local[index]) if moves else local[index]),
                [outputs[index] for outputs in one_each.values()],
            )

    def _store(self, value: ir.Value, raw: ir.Value) -> None:
        """`value`'s low version is `raw` rounded."""
        self.lowered[value] = self._low(raw)
        self.stored.add(value)

    def _arriving(self, value: ir.Value, moved: bool) -> ir.Value:
        """What a reader of `value` gets in the lowered model."""
        low = self.lowered[value]
        return self._low(low) if moved and value not in self.stored else low

    def _rounded(self, value: ir.Value) -> ir.Value:
        if value not in self.rounded:
            self.rounded[value] = self._low(value)
        return self.rounded[value]

    def _low(self, value: ir.Value) -> ir.Value:
        """`value` rounded, within the range of the type; NaN becomes 0."""
        key = ("low", value)
        if key not in self.clones:
            limit = self.precision.max
            bounded = self._op("Max", self._op("Min", value, self._number(limit)), self._number(-limit))
            there = self._op("Cast", bounded, to=int(self.precision.dtype))
            back = self._op("Cast", there, to=int(_FLOAT))
            if not _is_weight(value):
                back = self._op("Where", self._op("IsNaN", back), self._number(0.0), back)
            back.type, back.shape = value.type, value.shape
            self.clones[key] = (back,)
        return self.clones[key][0]

    def _clone(self, node: ir.Node, replaced: Mapping[ir.Value, ir.Value], inner: bool = False) -> tuple[ir.Value, ...]:
        """`node` with other inputs; with `inner` what its bodies compute is rounded."""
        inner = inner and any(True for _ in bodies(node))
        key = (node, frozenset(replaced.items()), inner)
        if key not in self.clones:
            computed = self._new_clone(node, replaced, inner) if replaced or inner else node
            self.clones[key] = tuple(computed.outputs)
        return self.clones[key]

    def _new_clone(self, node: ir.Node, replaced: Mapping[ir.Value, ir.Value], inner: bool) -> ir.Node:
        inputs = [None if v is None else replaced.get(v, v) for v in node.inputs]
        attributes = [_own_bodies(attribute) for attribute in node.attributes.values()]
        count, name = len(node.outputs), next(self.names)
        clone = ir.Node(node.domain, node.op_type, inputs, attributes, num_outputs=count, name=name)
        for before, after in zip(node.outputs, clone.outputs, strict=True):
            after.name = next(self.names) if before.name else ""
            after.type, after.shape = before.type, before.shape
        originals = dict(zip(_inner_nodes(clone), _inner_nodes(node), strict=True))
        for copied, original in originals.items():
            for index, value in enumerate(copied.inputs):
                if value is not None and value in replaced:
                    copied.replace_input_with(index, replaced[value])
            if inner and self.ids[original] in self.low:
                for index in self._moved_outputs(original):
                    if copied.outputs[index].name:
                        self.trips.behind(copied, copied.outputs[index], self.precision.dtype)
        self.added.append(clone)
        return clone

    def _finish(
        self,
        probe: Probe,
        exact: ir.Value,
        raw: ir.Value,
        weights: ir.Value | None,
        local: ir.Value | None,
        one_each: Sequence[ir.Value],
    ) -> None:
        """The vector of one value, as nodes that are leaves of the graph."""
        float_value = _is_float(exact)
        rounded = self._rounded(exact) if float_value and probe.moved else None
        kept, self.added = self.added, []
        low = self.lowered.get(exact, raw)
        nothing = self._number(0.0)
        parts = [
            self._squares(exact) if float_value else self._op("Cast", self._op("Size", exact), to=int(_FLOAT)),
            self._error(low, raw) if probe.moved else nothing,
            self._error(low, exact),
            nothing if weights is None else self._error(weights, exact),
            nothing if local is None else self._error(local, exact),
        ]
        if float_value:
            large = self._op("Greater", self._op("Abs", exact), self._number(self.precision.max))
            parts += [
                self._count(large),
                nothing if rounded is None else self._count(self._vanishes(exact, rounded)),
                self._count(self._op("IsNaN", exact)),
            ]
        else:
            parts += [nothing, nothing, nothing]
        parts += [self._error(each, exact) for each in one_each]
        shape = self._number(np.array([1], np.int64))
        vector = self._op("Concat", *(self._op("Reshape", part, shape) for part in parts), axis=0)
        vector.type, vector.shape = ir.TensorType(_FLOAT), ir.Shape([len(parts)])
        self.vectors.append(self.added)
        self.added = kept
        self.results.append(vector)
        self.probes.append(probe)

    def _vanishes(self, exact: ir.Value, rounded: ir.Value) -> ir.Value:
        boolean = int(ir.DataType.BOOL)
        return self._op(
            "And", self._op("Cast", exact, to=boolean), self._op("Not", self._op("Cast", rounded, to=boolean))
        )

    def _error(self, left: ir.Value, right: ir.Value) -> ir.Value:
        if left is right:
            return self._number(0.0)
        if _is_float(right):
            return self._squares(self._op("Sub", left, right))
        return self._count(self._op("Not", self._op("Equal", left, right)))

    def _squares(self, value: ir.Value) -> ir.Value:
        return self._op("ReduceSumSquare", value, keepdims=0)

    def _count(self, value: ir.Value) -> ir.Value:
        return self._op("ReduceSum", self._op("Cast", value, to=int(_FLOAT)), keepdims=0)

    def _op(self, op_type: str, *inputs: ir.Value, **attributes: int) -> ir.Value:
        node = ir.node(op_type, list(inputs), attributes, name=next(self.names))
        node.outputs[0].name = node.name
        self.added.append(node)
        return node.outputs[0]

    def _number(self, number: float | np.ndarray) -> ir.Value:
        array = np.asarray(number, None if isinstance(number, np.ndarray) else np.float32)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self.constants:
            node = ir.node("Constant", [], {"value": ir.tensor(array)}, name=next(self.names))
            node.outputs[0].name = node.name
            self.at_start.append(node)
            self.constants[key] = node.outputs[0]
        return self.constants[key]

    def _moved(self, node: ir.Node) -> Iterator[ir.Value]:
        """The values that `node`, or what its bodies hold, reads rounded in the lowered model."""
        for each in (node, *_inner_nodes(node)):
            if self.ids.get(each) in self.low:
                moves = self._operands(each)
                yield from (v for v, moved in zip(each.inputs, moves, strict=True) if moved and v is not None)

    def _moves(self, node: ir.Node, index: int) -> bool:
        return self.ids.get(node) in self.low and self._operands(node)[index]

    def _operands(self, node: ir.Node) -> tuple[bool, ...]:
        return float_operands(node, self.policy, self.precision).inputs

    def _moved_outputs(self, node: ir.Node) -> Collection[int]:
        if self.ids.get(node) not in self.low:
            return ()
        moves = float_operands(node, self.policy, self.precision).outputs
        return [index for index, moved in enumerate(moves) if moved]


def _reads(node: ir.Node) -> Iterator[ir.Value]:
    """The inputs of `node` and what its bodies read from outside."""
    yield from (value for value in node.inputs if value is not None)
    inner = _inner_nodes(node)
    if inner:
        made = {value for each in inner for value in each.outputs}
        for graph in (body for each in (node, *inner) for _, body in bodies(each)):
            made.update((*graph.inputs, *graph.initializers.values()))
        yield from (v for each in inner for v in each.inputs if v is not None and v not in made)


def _inner_nodes(node: ir.Node) -> list[ir.Node]:
    return [each for _, body in bodies(node) for _, each in nodes_with_ids(body)]


def _own_bodies(attribute: ir.Attr) -> ir.Attr:
    if attribute.type == ir.AttributeType.GRAPH:
        return ir.AttrGraph(attribute.name, attribute.as_graph().clone(allow_outer_scope_values=True))
    if attribute.type == ir.AttributeType.GRAPHS:
        graphs = [graph.clone(allow_outer_scope_values=True) for graph in attribute.as_graphs()]
        return ir.AttrGraphs(attribute.name, graphs)
    return attribute


def _is_float(value: ir.Value) -> bool:
    return isinstance(value.type, ir.TensorType) and value.dtype == _FLOAT


def _is_measurable(value: ir.Value) -> bool:
    return isinstance(value.type, ir.TensorType) and value.dtype in (
        _FLOAT,
        ir.DataType.BOOL,
        ir.DataType.INT64,
        ir.DataType.INT32,
    )


def _is_weight(value: ir.Value) -> bool:
    producer = value.producer()
    return value.const_value is not None or (producer is not None and producer.op_type == "Constant")
