"""Exact statistics of tensors, computed by nodes added to a graph and to the bodies of its control flow.

Each graph gets three vectors for the tensors it probes: `extremes`, reduced by maximum, and `counts` and `squares`,
reduced by sum. A body hands its vectors out as further outputs: those of an If are joined by constants that change
nothing in the other branch, those of Loop and Scan are scan outputs reduced behind the node, those of SequenceMap are
sequences. So bodies of any depth are seen, and what leaves the graph does not grow with the number of iterations.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import onnx_ir as ir

from autocast_core.calibrate.statistics import TensorStats
from autocast_core.calibrate.temporary_nodes import TemporaryNodes
from autocast_core.config import Precision
from autocast_core.number_formats import FLOAT_DTYPES
from autocast_core.operators.families import CONTROL_FLOW, is_in

_LOWEST_OPSET = 13
"""Below, Loop, Scan and the operators of probes have other forms; sanitized models are not below."""
EXTREMES, COUNTS, SQUARES = range(3)
_EMPTY: tuple[Any, ...] = (np.float32(-np.inf), np.int64(0), np.float64(0))
_DTYPES = (ir.DataType.FLOAT, ir.DataType.INT64, ir.DataType.DOUBLE)


@dataclass(frozen=True)
class Vectors:
    """The three vectors of a graph and the names of the tensors they describe, in order; `width` numbers a tensor."""

    names: tuple[str, ...]
    values: tuple[ir.Value, ...]


def widths(small: bool) -> tuple[int, ...]:
    """How many numbers each vector holds for one tensor."""
    return (2, 5, 2) if small else (2, 2)


def is_float_tensor(value: ir.Value) -> bool:
    """Whether `value` is a single tensor of floats (a sequence's dtype is that of its elements)."""
    return isinstance(value.type, ir.TensorType) and value.dtype in FLOAT_DTYPES


def probe(
    writer: TemporaryNodes,
    chosen: Callable[[ir.Value], bool],
    precision: Precision,
    small: bool,
    *,
    inputs: bool,
    except_for: Collection[ir.Value] = (),
) -> Vectors | None:
    """Probes in `writer`'s graph for its own values that are `chosen` and for everything in its bodies.

    `inputs` says whether formal inputs count as its own values; values in `except_for` are not probed. None where there
    is nothing to probe.
    """
    graph = writer.graph
    nodes = [node for node in graph if node.op_type != "Constant"]
    own = chain(graph.inputs if inputs else (), (value for node in nodes for value in node.outputs))
    named = [value for value in own if is_float_tensor(value) and value.name]
    values = [value for value in named if chosen(value) and value not in except_for]
    parts = [_exact(writer, value, precision, small) for value in values]
    for node in nodes:
        if any(attribute.type == ir.AttributeType.GRAPH for attribute in node.attributes.values()):
            part = _through(node, writer, precision, small, except_for)
            if part is not None:
                parts.append(part)
    if not parts:
        return None
    names = tuple(name for part in parts for name in part.names)
    joined = tuple(writer.joined(vectors) for vectors in zip(*(part.values for part in parts), strict=True))
    _declare(joined, len(names), small)
    return Vectors(names, joined)


def _declare(vectors: Sequence[ir.Value], tensors: int, small: bool) -> None:
    """State type and shape: ONNX Runtime runs a Scan in the body of another only where outputs of bodies have both."""
    for value, dtype, width in zip(vectors, _DTYPES, widths(small), strict=False):
        value.type, value.shape = ir.TensorType(dtype), ir.Shape([width * tensors])


def _exact(writer: TemporaryNodes, value: ir.Value, precision: Precision, small: bool) -> Vectors:
    """The numbers of one tensor; see `stats_of` for their order."""
    x = writer("Reshape", value, writer.constant(np.array([-1])))
    if value.dtype != ir.DataType.FLOAT:
        x = writer("Cast", x, to=int(ir.DataType.FLOAT))
    infinity = writer.constant(np.array([np.inf], np.float32))
    is_nan = writer("IsNaN", x)
    negated = writer("Where", is_nan, writer.constant(np.array([-np.inf], np.float32)), writer("Neg", x))
    highest = writer("ReduceMax", writer("Where", is_nan, writer("Neg", infinity), x), keepdims=1)
    extremes = writer.joined([highest, writer("ReduceMax", negated, keepdims=1)])
    counts = [writer("Shape", x), _count(writer, writer("Or", is_nan, writer("IsInf", x)))]
    if not small:
        return Vectors((str(value.name),), (extremes, writer.joined(counts)))
    zero = writer.constant(np.array([0.0], np.float32))
    magnitude = writer("Abs", x)
    inside = writer("LessOrEqual", magnitude, writer.constant(np.array([precision.max], np.float32)))
    kept = writer("Where", inside, x, zero)
    low = writer("Cast", kept, to=int(precision.dtype))
    rounded = writer("Cast", low, to=int(ir.DataType.FLOAT))
    normal = writer("GreaterOrEqual", magnitude, writer.constant(np.array([precision.smallest_normal], np.float32)))
    boolean = int(ir.DataType.BOOL)
    counts += [
        _count(writer, writer("Cast", kept, to=boolean)),
        _count(writer, writer("Cast", rounded, to=boolean)),
        _count(writer, writer("And", normal, inside)),
    ]
    squares = [
        writer("ReduceSumSquare", writer("Cast", part, to=int(ir.DataType.DOUBLE)), keepdims=1)
        for part in (kept, writer("Sub", kept, rounded))
    ]
    return Vectors((str(value.name),), (extremes, writer.joined(counts), writer.joined(squares)))


def _count(writer: TemporaryNodes, mask: ir.Value) -> ir.Value:
    return writer("ReduceSum", writer("Cast", mask, to=int(ir.DataType.INT64)), keepdims=1)


def _through(
    node: ir.Node, outer: TemporaryNodes, precision: Precision, small: bool, except_for: Collection[ir.Value]
) -> Vectors | None:
    """What the bodies of `node` probe, brought out of it into `outer`'s graph."""
    bodies = {name: a.as_graph() for name, a in node.attributes.items() if a.type == ir.AttributeType.GRAPH}
    if not is_in(node, CONTROL_FLOW) or outer.opset < _LOWEST_OPSET:
        return None
    writers = {name: outer.inner(graph) for name, graph in bodies.items()}
    found = {
        name: probe(writer, lambda _: True, precision, small, inputs=True, except_for=except_for)
        for name, writer in writers.items()
    }
    present = {name: vectors for name, vectors in found.items() if vectors is not None}
    if not present:
        return None
    names = tuple(name for vectors in present.values() for name in vectors.names)
    kinds = range(len(widths(small)))
    for branch, writer in writers.items():
        # A branch that is not taken contributes numbers that change neither a maximum nor a sum.
        parts = [
            vectors.values if name == branch else _neutral(writer, len(vectors.names), small)
            for name, vectors in present.items()
        ]
        outputs = [writer.joined([part[kind] for part in parts]) for kind in kinds]
        _declare(outputs, len(names), small)
        writer.commit()
        writer.add_outputs(outputs)
    results = _handed_out(node, outer, next(iter(bodies.values())), len(kinds))
    if node.op_type == "If":
        return Vectors(names, results)
    neutral = _neutral(outer, len(names), small)
    return Vectors(names, tuple(_over_iterations(outer, k, result, neutral[k]) for k, result in enumerate(results)))


def _handed_out(node: ir.Node, outer: TemporaryNodes, body: ir.Graph, count: int) -> tuple[ir.Value, ...]:
    """The outputs of `node` for the last `count` outputs of its body."""
    for attribute in ("scan_output_axes", "scan_output_directions") if node.op_type == "Scan" else ():
        outer.lengthen(node, attribute, count)
    # The first output of a Loop's body is its condition.
    results = outer.add_node_outputs(node, count, len(body.outputs) - (node.op_type == "Loop"))
    if node.op_type == "SequenceMap":
        return tuple(outer("ConcatFromSequence", value, axis=0, new_axis=1) for value in results)
    return results


def _neutral(writer: TemporaryNodes, tensors: int, small: bool) -> tuple[ir.Value, ...]:
    """Vectors for `tensors` tensors of which nothing was seen."""
    return tuple(
        writer.constant(np.full(width * tensors, empty)) for width, empty in zip(widths(small), _EMPTY, strict=False)
    )


def _over_iterations(writer: TemporaryNodes, kind: int, rows: ir.Value, neutral: ir.Value) -> ir.Value:
    """The maximum or sum over iterations; a neutral row keeps a loop that never runs from giving an empty one."""
    padded = writer.joined([writer("Unsqueeze", neutral, writer.constant(np.array([0]))), rows])
    return writer.reduced("ReduceMax" if kind == EXTREMES else "ReduceSum", padded)


def stats_of(names: Sequence[str], arrays: Sequence[np.ndarray], small: bool) -> dict[str, TensorStats]:
    """The statistics that the three vectors of a run say, by tensor name."""
    columns = [array.reshape(len(names), -1).tolist() for array in arrays]
    if not small:
        return {
            name: TensorStats(count, -negated, highest, nonfinite)
            for name, (highest, negated), (count, nonfinite) in zip(names, *columns, strict=True)
        }
    return {
        name: TensorStats(
            count=count,
            min=-negated,
            max=highest,
            nonfinite=nonfinite,
            nonzero=nonzero,
            underflow=nonzero - survivors,
            subnormal=nonzero - normal,
            sum_squares=squares,
            rounding_sum_squares=rounding,
            examined=count,
        )
        for name, (highest, negated), (count, nonfinite, nonzero, survivors, normal), (squares, rounding) in zip(
            names, *columns, strict=True
        )
    }
