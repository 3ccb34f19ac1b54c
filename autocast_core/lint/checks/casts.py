"""Casts that undo each other, are repeated, or run in every iteration."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from autocast_core.graph.constants import SMALL_TENSOR_BYTES, constant_tensor
from autocast_core.lint.finding import Check, Level, Spot
from autocast_core.lint.subject import Subject, is_cast, size_in_bytes, total, type_word
from autocast_core.number_formats import LOW_DTYPES, PRECISION_DTYPES

_LOOPS = frozenset({"Loop", "Scan", "SequenceMap"})
_CONVERT = "`autocast run FP32.onnx --calibration DATA`, which casts each value once"


def _float_casts(subject: Subject) -> Iterator[tuple[ir.Node, str, ir.Value, ir.Value]]:
    for node, node_id in subject.ids.items():
        value = node.inputs[0] if is_cast(node) else None
        if value is not None and value.dtype in PRECISION_DTYPES and node.outputs[0].dtype in PRECISION_DTYPES:
            yield node, node_id, value, node.outputs[0]


def _pairs(subject: Subject) -> Iterator[Spot]:
    for _, node_id, middle, result in _float_casts(subject):
        first = middle.producer()
        if first is None or not is_cast(first):
            continue
        source = first.inputs[0]
        if source is not None and source.dtype == result.dtype and source.dtype != middle.dtype:
            loses = middle.dtype in LOW_DTYPES
            detail = f"undoes {subject.ids[first]!r}: {type_word(source.dtype)} to {type_word(middle.dtype)} and back"
            detail += ", which rounds for nothing" if loses else ", which changes nothing"
            yield Spot(node_id, detail, total(size_in_bytes(value) for value in (source, middle, middle, result)))


def _in_loops(subject: Subject) -> Iterator[Spot]:
    inside = _loop_graphs(subject)
    for node, node_id, value, result in _float_casts(subject):
        if value.dtype == result.dtype or node.graph not in inside:
            continue
        body = inside[node.graph]
        if _defined_outside(value, body, subject):
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


def _returned_in_another_type(state: ir.Value, body: ir.Graph, subject: Subject) -> bool:
    """Whether the body casts the new value of `state` as the last thing."""
    inputs, outputs = list(body.inputs), list(body.outputs)
    shift = 1 if subject.holders[body].op_type == "Loop" else 0
    place = inputs.index(state) - shift
    return 0 <= place < len(outputs) and is_cast(outputs[place].producer())


def _without_effect(subject: Subject) -> Iterator[Spot]:
    for _, node_id, value, result in _float_casts(subject):
        if value.dtype == result.dtype:
            yield Spot(node_id, f"casts {value.name!r} to {type_word(value.dtype)}, which it has")


def _repeated(subject: Subject) -> Iterator[Spot]:
    seen: dict[tuple[ir.Value, object, object], str] = {}
    for node, node_id, value, result in _float_casts(subject):
        first = seen.setdefault((value, result.dtype, node.graph), node_id)
        if first != node_id and value.dtype != result.dtype:
            detail = f"casts {value.name!r} to {type_word(result.dtype)}, as {first!r} does"
            yield Spot(node_id, detail, total(size_in_bytes(each) for each in (value, result)))


def _of_weights(subject: Subject) -> Iterator[Spot]:
    for _, node_id, value, result in _float_casts(subject):
        size = size_in_bytes(value)
        is_large = size is not None and size > SMALL_TENSOR_BYTES
        if is_large and value.dtype != result.dtype and constant_tensor(value) is not None:
            detail = f"casts the weight {value.name!r} from {type_word(value.dtype)} to {type_word(result.dtype)}"
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
        "remove it: onnxsim or ONNX Runtime's basic optimisations do",
        _without_effect,
    ),
    Check(
        "AC204",
        "Cast repeated",
        Level.WARNING,
        "the tensor is read and written once more",
        "let all readers take the first one; or " + _CONVERT,
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
