"""One graph that computes every node several times side by side, so that one pass tells where errors come from.

Beside each exact value of the model's main graph stands its *low* version, as the fully lowered model would have it:
from low inputs, with rounded weights, rounded. Each node is computed once more with one low input at a time and the
rest exact, once with only its weights rounded, and once with exact inputs rounded right there (its local error). What
leaves the graph are sums of squared differences, a short vector for each value.

Low values saturate at the range of their type instead of becoming infinite, and NaN becomes 0: an overflow is then a
large error like any other, which can be followed to the outputs; it is counted beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from autocast_core.config import Precision
from autocast_core.graph.names import unused_names
from autocast_core.graph.walk import bodies, nodes_with_ids
from autocast_core.operators import OperandPolicy
from autocast_core.search.attribution.error_nodes import FLOAT, ErrorNodes, is_float, is_quantized
from autocast_core.search.attribution.lowered_nodes import LoweredNodes, inner_nodes, reads
from autocast_core.simulate.roundtrip import RoundTrips, put_first

UNEQUAL_SHAPES = frozenset({"Compress", "NonMaxSuppression", "NonZero", "Unique"})
"""Operators whose number of results depends on data, so that two runs of one cannot be compared."""
_RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
_NOT_PROBED = frozenset({"Constant"}) | _RANDOM | UNEQUAL_SHAPES
_MEASURABLE = frozenset(
    {ir.DataType.FLOAT, ir.DataType.BOOL, ir.DataType.INT64, ir.DataType.INT32, ir.DataType.INT8, ir.DataType.UINT8}
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
    """The instrumented copy of a sanitized `model`; `low` has the nodes, by id, that the lowest plan lowers, and to
    what, `policy` which of their operands move. `precision` is the low type of most.

    Bodies of control flow are part of their node. Weights are shared with `model`.
    """
    copy = model.clone()
    graph = copy.graph
    ids = {node: node_id for node_id, node in nodes_with_ids(graph)}
    lowered = LoweredNodes(ids, low, policy)
    nodes = ErrorNodes(unused_names(graph).numbered("attribution"))
    versions = _Versions(lowered, precision, nodes, RoundTrips(copy))
    vectors: list[_Vector] = []
    own = list(graph)
    for value in graph.inputs:
        types = {lowered.precision(node) for node, index in value.uses() if lowered.rounds_input(node, index)}
        if is_float(value) and types:
            stored = precision if precision in types else types.pop()
            versions.store(value, value, stored)
            probe = Probe(str(value.name), None, moved=True)
            vectors.append(_vector(versions, probe, value, _Measured(value), stored))
    for node in own:
        vectors += _probed(versions, node)
    graph.extend(nodes.added)
    # ONNX Runtime takes leaves last in, first out; in forward order every intermediate would stay alive.
    for vector in reversed(vectors):
        graph.extend(vector.nodes)
    put_first(graph, nodes.constants)
    graph.outputs[:] = [vector.value for vector in vectors]
    return ProbeGraph(copy, tuple(vector.probe for vector in vectors))


@dataclass
class _Versions:
    """The low versions of values, and of nodes with other inputs; each is made once.

    `low` has a value's version in the lowered model (its result before rounding for those that are not `stored`
    rounded), `stored` the type of those that are, `clones` the outputs of what was written already; `main` is the type
    whose range tensors of FP32 nodes are compared with.
    """

    lowered: LoweredNodes
    main: Precision
    nodes: ErrorNodes
    trips: RoundTrips
    low: dict[ir.Value, ir.Value] = field(default_factory=dict)
    stored: dict[ir.Value, Precision] = field(default_factory=dict)
    roundings: dict[tuple[ir.Value, Precision], ir.Value] = field(default_factory=dict)
    clones: dict[object, tuple[ir.Value, ...]] = field(default_factory=dict)

    def store(self, value: ir.Value, raw: ir.Value, precision: Precision) -> None:
        """The low version of `value` is `raw` rounded."""
        self.low[value] = self.rounded(raw, precision)
        self.stored[value] = precision

    def arriving(self, value: ir.Value, precision: Precision | None) -> ir.Value:
        """What a reader of `value` that computes in `precision` (None: FP32) gets in the lowered model."""
        low = self.low[value]
        return low if precision is None or self.stored.get(value) is precision else self.rounded(low, precision)

    def rounded(self, value: ir.Value, precision: Precision) -> ir.Value:
        """`value` rounded, within the range of the type; NaN becomes 0."""
        key = (value, precision)
        if key not in self.roundings:
            limit, write = precision.max, self.nodes
            bounded = write("Max", write("Min", value, write.number(limit)), write.number(-limit))
            back = write("Cast", write("Cast", bounded, to=int(precision.dtype)), to=int(FLOAT))
            if not _is_weight(value):
                back = write("Where", write("IsNaN", back), write.number(0.0), back)
            back.type, back.shape = value.type, value.shape
            self.roundings[key] = back
        return self.roundings[key]

    def clone(
        self, node: ir.Node, replaced: Mapping[ir.Value, ir.Value], *, inner: bool = False
    ) -> tuple[ir.Value, ...]:
        """The outputs of `node` with other inputs; with `inner` what its bodies compute is rounded."""
        inner = inner and any(True for _ in bodies(node))
        key = (node, frozenset(replaced.items()), inner)
        if key not in self.clones:
            computed = self._written(node, replaced, inner) if replaced or inner else node
            self.clones[key] = tuple(computed.outputs)
        return self.clones[key]

    def _written(self, node: ir.Node, replaced: Mapping[ir.Value, ir.Value], inner: bool) -> ir.Node:
        inputs = [None if v is None else replaced.get(v, v) for v in node.inputs]
        attributes = [_own_bodies(attribute) for attribute in node.attributes.values()]
        names = self.nodes.names
        count, name = len(node.outputs), next(names)
        clone = ir.Node(node.domain, node.op_type, inputs, attributes, num_outputs=count, name=name)
        for before, after in zip(node.outputs, clone.outputs, strict=True):
            after.name = next(names) if before.name else ""
            after.type, after.shape = before.type, before.shape
        originals = dict(zip(inner_nodes(clone), inner_nodes(node), strict=True))
        for copied, original in originals.items():
            for index, value in enumerate(copied.inputs):
                if value is not None and value in replaced:
                    copied.replace_input_with(index, replaced[value])
            for index in self.lowered.rounded_outputs(original) if inner else ():
                if copied.outputs[index].name:
                    self.trips.behind(copied, copied.outputs[index], self.lowered.precision(original).dtype)
        self.nodes.added.append(clone)
        return clone


@dataclass(frozen=True)
class _Measured:
    """The versions of one value that are compared with the exact one: `raw` is the low one before it is rounded,
    `weights` that with rounded weights alone, `local` that of the node alone, `one_each` those of one low input
    each."""

    raw: ir.Value
    weights: ir.Value | None = None
    local: ir.Value | None = None
    one_each: tuple[ir.Value, ...] = ()


@dataclass(frozen=True)
class _Vector:
    """The vector of a probe, and the nodes that compute it."""

    probe: Probe
    value: ir.Value
    nodes: list[ir.Node]


def _probed(versions: _Versions, node: ir.Node) -> Iterable[_Vector]:
    """The vectors of the outputs of `node`, where it can be inexact in the lowered model."""
    if node.op_type in _NOT_PROBED:
        return
    lowered = versions.lowered
    measured = [v for v in node.outputs if v.name and _is_measurable(v)]
    sources = tuple(dict.fromkeys(reads(node)))
    moved = lowered.rounded_inputs(node)
    arriving = {v: versions.arriving(v, moved.get(v)) for v in sources if v in versions.low}
    arriving = {v: low for v, low in arriving.items() if _hands_on(v)}
    # What nothing before has made inexact is rounded here alone: weights, and numbers made from integers.
    weights = {v: versions.rounded(v, moved[v]) for v in sources if v in moved and v not in versions.low}
    out_moves = lowered.rounded_outputs(node)
    is_low = (node in lowered and bool(moved or out_moves)) or any(inner in lowered for inner in inner_nodes(node))
    if not measured or not (arriving or is_low):
        return
    everything = versions.clone(node, {**arriving, **weights}, inner=is_low)
    alone = versions.clone(node, weights) if weights else None
    own = {v: versions.rounded(v, moved[v]) for v in sources if v in moved} if is_low else {}
    precision = lowered.precision(node) if node in lowered else versions.main
    local = versions.clone(node, own, inner=True) if is_low else None
    one_each = {v: versions.clone(node, {v: low}) for v, low in arriving.items()}
    for index, value in enumerate(node.outputs):
        if value not in measured:
            continue
        moves = is_low and index in out_moves
        if moves:
            versions.store(value, everything[index], precision)
        elif _hands_on(value):
            versions.low[value] = everything[index]
        raw = None if local is None else local[index]
        found = _Measured(
            everything[index],
            None if alone is None else alone[index],
            versions.rounded(raw, precision) if raw is not None and moves else raw,
            tuple(outputs[index] for outputs in one_each.values()),
        )
        names = tuple(str(v.name) for v in one_each)
        yield _vector(versions, Probe(str(value.name), lowered.ids[node], names, moves), value, found, precision)


def _vector(versions: _Versions, probe: Probe, exact: ir.Value, found: _Measured, precision: Precision) -> _Vector:
    """The vector of one value, which `precision` stores, as nodes that are leaves of the graph."""
    rounded = versions.rounded(exact, precision) if is_float(exact) and probe.moved else None
    low = versions.low.get(exact, found.raw)
    write = versions.nodes.apart()
    nothing = write.number(0.0)
    parts = [
        write.energy(exact),
        write.error(low, found.raw) if probe.moved else nothing,
        write.error(low, exact),
        nothing if found.weights is None else write.error(found.weights, exact),
        nothing if found.local is None else write.error(found.local, exact),
    ]
    if is_float(exact):
        parts += [
            write.count(write("Greater", write("Abs", exact), write.number(precision.max))),
            nothing if rounded is None else write.count(write.vanishes(exact, rounded)),
            write.count(write("IsNaN", exact)),
        ]
    else:
        parts += [nothing, nothing, nothing]
    parts += [write.error(each, exact) for each in found.one_each]
    shape = write.number(np.array([1], np.int64))
    vector = write("Concat", *(write("Reshape", part, shape) for part in parts), axis=0)
    vector.type, vector.shape = ir.TensorType(FLOAT), ir.Shape([len(parts)])
    return _Vector(probe, vector, write.added)


def _own_bodies(attribute: ir.Attr) -> ir.Attr:
    if attribute.type == ir.AttributeType.GRAPH:
        return ir.AttrGraph(attribute.name, attribute.as_graph().clone(allow_outer_scope_values=True))
    if attribute.type == ir.AttributeType.GRAPHS:
        graphs = [graph.clone(allow_outer_scope_values=True) for graph in attribute.as_graphs()]
        return ir.AttrGraphs(attribute.name, graphs)
    return attribute


def _is_measurable(value: ir.Value) -> bool:
    return isinstance(value.type, ir.TensorType) and value.dtype in _MEASURABLE


def _hands_on(value: ir.Value) -> bool:
    """Whether errors of `value` are followed into its readers: of integers only those that stand for numbers."""
    return is_float(value) or is_quantized(value) or value.dtype == ir.DataType.BOOL


def _is_weight(value: ir.Value) -> bool:
    producer = value.producer()
    return value.const_value is not None or (producer is not None and producer.op_type == "Constant")
