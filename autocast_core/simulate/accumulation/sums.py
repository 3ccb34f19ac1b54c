"""Sums and sums of products that round to a 16-bit type after every 16 addends."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import onnx_ir as ir

from autocast_core.simulate.accumulation.tape import Tape

BLOCK = 16
"""Addends that are summed in FP32 before the running sum is rounded: the depth of a step of a tensor core."""
_INT = ir.DataType.INT64
_Step = Callable[[Tape, Sequence[ir.Value]], ir.Value]


def running_sum(
    tape: Tape, start: ir.Value, blocks: Sequence[tuple[ir.Value, int]], step: _Step, dtype: ir.DataType, rank: int
) -> ir.Value:
    """`start`, to which for each block along the given axes is added what `step` makes of it, rounded each time.

    `rank` is that of the sum.
    """
    inner = Tape(tape.names, tape.opset)
    state = _input(next(tape.names))
    given = [_input(next(tape.names)) for _ in blocks]
    added = inner.op("Add", state, step(inner, given))
    result = inner.rounded(added, dtype)
    result.shape = ir.Shape([None] * rank)  # ONNX Runtime asks for the rank of what a Scan hands on
    body = ir.Graph([state, *given], [result], nodes=inner.nodes, name=next(tape.names))
    attributes: dict[str, object] = {
        "body": body,
        "num_scan_inputs": len(blocks),
        "scan_input_axes": [axis for _, axis in blocks],
    }
    return tape.op("Scan", start, *(value for value, _ in blocks), attributes=attributes)


def _input(name: str) -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT))


def row_sums(tape: Tape, rows: ir.Value, dtype: ir.DataType) -> ir.Value:
    """The sums of the rows of a matrix, [rows, n] to [rows, 1]."""
    blocks = in_blocks(tape, rows, -1, 2)
    zero = _zeros(tape, tape.joined(tape.shape(rows, 0, 1), tape.ints(1)))
    return running_sum(tape, zero, [(blocks, 1)], lambda inner, each: inner.summed(each[0], -1, keep=True), dtype, 2)


def in_blocks(tape: Tape, value: ir.Value, axis: int, rank: int) -> ir.Value:
    """`value` with its `axis` (from the end) of size n as two, n / 16 and 16, filled up with zeros."""
    place = rank + axis
    size = tape.shape(value, place, place + 1)
    filled = tape.op("Add", tape.op("Max", size, tape.ints(1), dtype=_INT), tape.ints(BLOCK - 1), dtype=_INT)
    blocks = tape.op("Div", filled, tape.ints(BLOCK), dtype=_INT)  # never 0, for which Scan ends the process
    missing = tape.op("Sub", tape.op("Mul", blocks, tape.ints(BLOCK), dtype=_INT), size, dtype=_INT)
    pads = tape.joined(
        tape.ints(*[0] * (rank + place)), missing, *([tape.ints(*[0] * (-axis - 1))] if axis < -1 else [])
    )
    padded = tape.op("Pad", value, pads)
    parts = [tape.shape(value, 0, place)] if place else []
    parts += [blocks, tape.ints(BLOCK)]
    if axis < -1:
        parts.append(tape.shape(value, place + 1))
    return tape.reshaped(padded, tape.joined(*parts))


def product(tape: Tape, left: ir.Value, right: ir.Value, ranks: tuple[int, int], dtype: ir.DataType) -> ir.Value:
    """The product of matrices [.., m, k] and [.., k, n] of these ranks, both at least 2."""
    first = tape.op(
        "MatMul",
        tape.op("Slice", left, tape.ints(0), tape.ints(1), tape.ints(-1)),
        tape.op("Slice", right, tape.ints(0), tape.ints(1), tape.ints(-2)),
    )
    zero = _zeros(tape, tape.shape(first))
    blocks = [(in_blocks(tape, left, -1, ranks[0]), ranks[0] - 1), (in_blocks(tape, right, -2, ranks[1]), ranks[1] - 2)]
    return running_sum(tape, zero, blocks, lambda inner, each: inner.op("MatMul", *each), dtype, max(ranks))


def convolution(
    tape: Tape,
    value: ir.Value,
    weight: ir.Value,
    sizes: Sequence[int],
    attributes: dict[str, object],
    dtype: ir.DataType,
) -> ir.Value:
    """The convolution without groups or bias, by weights of `sizes` [m, channels, ..].

    A block is as many channels as make at most 16 products, one where the kernel alone has more.
    """
    channels, most = sizes[1], max(1, BLOCK // math.prod(sizes[2:]))
    deep = max(size for size in range(1, most + 1) if channels % size == 0)
    one = [tape.op("Slice", each, tape.ints(0), tape.ints(1), tape.ints(1)) for each in (value, weight)]
    zero = _zeros(tape, tape.shape(tape.op("Conv", *one, attributes=dict(attributes))))
    blocks = []
    for each in (value, weight):
        shape = tape.joined(tape.shape(each, 0, 1), tape.ints(channels // deep, deep), tape.shape(each, 2))
        blocks.append((tape.reshaped(each, shape), 1))

    def step(inner: Tape, parts: Sequence[ir.Value]) -> ir.Value:
        return inner.op("Conv", *parts, attributes=dict(attributes))

    return running_sum(tape, zero, blocks, step, dtype, len(sizes))


def _zeros(tape: Tape, shape: ir.Value) -> ir.Value:
    return tape.op("Expand", tape.number(0), shape)
