"""Casts that undo each other, are repeated, or run in every iteration."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from autocast_core.graph.constants import SMALL_TENSOR_BYTES, constant_tensor, stored_bytes
from autocast_core.lint.finding import Check, Level, Spot
from autocast_core.lint.subject import Subject, elements_of, is_cast, size_in_bytes, total, type_word
from autocast_core.number_formats import FLOAT_DTYPES
from autocast_core.operators.families import REARRANGES, is_in

_MOST_CASTS = 16
"""In a row, as far as casts that undo each other are looked for."""
_LOOPS = frozenset({"Loop", "Scan", "SequenceMap"})
_CONVERT = "`autocast run FP32.onnx --calibration DATA`, which casts each value once"


def _float_casts(subject: Subject) -> Iterator[tuple[ir.Node, str, ir.Value, ir.Value]]:
    for node, node_id in subject.ids.items():
        value = node.inputs[0] if is_cast(node) else None
        if value is not None and value.dtype in FLOAT_DTYPES and node.outputs[0].dtype in FLOAT_DTYPES:
            yield node, node_id, value, node.outputs[0]


def _pairs(subject: Subject) -> Iterator[Spot]:
    for _, node_id, value, result in _float_casts(subject):
        if value.dtype == result.dtype:
            continue
        first, between = value.producer(), [value]
        while first is not None and is_cast(first) and len(between) < _MOST_CASTS:
            source = first.inputs[0]
            if source is None or source.dtype not in FLOAT_DTYPES:
                break
            if source.dtype == result.dtype:
                yield Spot(node_id, *_undone(subject.ids[first], source, between, result))
                break
            first, between = source.producer(), [source, *between]


def _undone(first: str, source: ir.Value, between: list[ir.Value], result: ir.Value) -> tuple[str, int | None]:
    """What casts from `source` by way of `between` to `result` do, and the bytes that they read and write."""
    loses = any(value.dtype != source.dtype and not _is_wider(value, source) for value in between)
    way = " to ".join(type_word(value.dtype) for value in (source, *between))
    effect = ", which rounds for nothing" if loses else ", which changes nothing"
    moved = total(size_in_bytes(value) for value in (source, *between, *between, result))
    return f"undoes {first!r}: {way} and back{effect}", moved


def _is_wider(value: ir.Value, than: ir.Value) -> bool:
    """Whether the type of `value` has more bits; one of as many holds other numbers."""
    return value.dtype is not None and than.dtype is not None and value.dtype.bitwidth > than.dtype.bitwidth


def _in_loops(subject: Subject) -> Iterator[Spot]:
    inside = _loop_graphs(subject)
    for node, node_id, value, result in _float_casts(subject):
        if value.dtype == result.dtype or node.graph not in inside:
            continue
        body = inside[node.graph]
        if _defined_outside(value, body, subject) or _is_handed_on(value, body, subject):
            yield Spot(node_id, f"casts {value.name!r}, which every iteration reads unchanged", size_in_bytes(value))
        elif value in body.inputs and _returned_in_another_type(value, body, subject):
            yield Spot(node_id, f"casts the state {value.name!r} to and fro in every iteration", size_in_bytes(value))


def _loop_graphs(subject: Subject) -> dict[object, ir.Graph]:
    """Every graph inside a loop, and the body of the innermost loop around it."""
    found: dict[object, ir.Graph] = {}
    for body, holder in subject.holders.items():
        if holder.op_type in _LOOPS:
            found[body] = body
        elif holder.graph in found:
            found[body] = found[holder.graph]
    return found


def _defined_outside(value: ir.Value, body: ir.Graph, subject: Subject) -> bool:
    if constant_tensor(value) is not None:
        return True
    node = value.producer()
    graph = node.graph if node is not None else value.graph
    while isinstance(graph, ir.Graph):
        if graph is body:
            return False
        holder = subject.holders.get(graph)
        graph = None if holder is None else holder.graph
    return True


def _is_handed_on(value: ir.Value, body: ir.Graph, subject: Subject) -> bool:
    """Whether `value` is state that the body gives back as it is."""
    given = _new_state(value, body, subject)
    while given is not None and given is not value:
        node = given.producer()
        given = node.inputs[0] if node is not None and is_in(node, frozenset({"Identity"})) else None
    return given is not None


def _returned_in_another_type(state: ir.Value, body: ir.Graph, subject: Subject) -> bool:
    """Whether the body casts the new value of `state` as the last thing."""
    given = _new_state(state, body, subject)
    return given is not None and is_cast(given.producer())


def _new_state(state: ir.Value, body: ir.Graph, subject: Subject) -> ir.Value | None:
    """The output of `body` that is `state` in the next iteration; None where the body hands none on."""
    inputs, outputs = list(body.inputs), list(body.outputs)
    if state not in inputs:
        return None
    loop = subject.holders[body]
    place = inputs.index(state) - (1 if loop.op_type == "Loop" else 0)
    scanned = 0 if loop.op_type == "Loop" else loop.attributes.get_int("num_scan_inputs", len(inputs))
    is_state = 0 <= place < len(outputs) and inputs.index(state) < len(inputs) - scanned
    return outputs[place] if is_state else None


def _without_effect(subject: Subject) -> Iterator[Spot]:
    for _, node_id, value, result in _float_casts(subject):
        if value.dtype == result.dtype:
            yield Spot(node_id, f"casts {value.name!r} to {type_word(value.dtype)}, which it has")


def _repeated(subject: Subject) -> Iterator[Spot]:
    seen: dict[tuple[ir.Value, object, object], str] = {}
    for node, node_id, value, result in _float_casts(subject):
        seen.setdefault((value, result.dtype, node.graph), node_id)
        around = (seen.get((value, result.dtype, graph)) for graph in _graphs_around(node, subject))
        first = next((each for each in around if each is not None), node_id)
        if first != node_id and value.dtype != result.dtype:
            detail = f"casts {value.name!r} to {type_word(result.dtype)}, as {first!r} does"
            yield Spot(node_id, detail, total(size_in_bytes(each) for each in (value, result)))


def _graphs_around(node: ir.Node, subject: Subject) -> Iterator[ir.Graph]:
    """The graph of a node and those around it, the outermost first: what is made there is made before."""
    graphs: list[ir.Graph] = []
    holder: ir.Node | None = node
    while holder is not None and isinstance(holder.graph, ir.Graph):
        graphs.append(holder.graph)
        holder = subject.holders.get(holder.graph)
    yield from reversed(graphs)


def _of_weights(subject: Subject) -> Iterator[Spot]:
    for _, node_id, value, result in _float_casts(subject):
        weight = elements_of(value, REARRANGES)
        size = 0 if weight is None else stored_bytes(weight)
        if weight is not None and size > SMALL_TENSOR_BYTES and value.dtype != result.dtype:
            name = weight.name or value.name
            detail = f"casts the weight {name!r} from {type_word(value.dtype)} to {type_word(result.dtype)}"
            yield Spot(node_id, detail, size)


CASTS = (
    Check(
        "AC201",
        "Casts that undo each other",
        Level.WARNING,
        "both casts move the whole tensor, and a 16-bit type between rounds it",
        "remove both: read the value in front of the first one; or " + _CONVERT,
        _pairs,
    ),
    Check(
        "AC202",
        "Cast in every iteration of a loop",
        Level.WARNING,
        "the cast runs as often as the loop",
        "cast in front of the loop, and carry state in one type; or " + _CONVERT,
        _in_loops,
    ),
    Check(
        "AC203",
        "Cast to the type that the value has",
        Level.NOTE,
        "nothing in an engine, which drops it; it hides patterns from tools",
        "remove it: `onnxsim MODEL MODEL` does",
        _without_effect,
    ),
    Check(
        "AC204",
        "Cast repeated",
        Level.WARNING,
        "the tensor is read and written once more",
        "let all readers take the first one: `onnxsim MODEL MODEL` does; or " + _CONVERT,
        _repeated,
    ),
    Check(
        "AC205",
        "Weight cast when the model runs",
        Level.NOTE,
        "the file holds the weight in the type that nothing computes in",
        "`autocast run FP32.onnx --calibration DATA` without init_conversion_max_bytes stores it in 16 bits",
        _of_weights,
    ),
)
