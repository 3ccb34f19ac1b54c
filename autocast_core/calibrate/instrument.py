"""What calibration has the runtime compute beside each float tensor, and how the results are read.

A tensor of the main graph that only rearranges another one has its statistics (see rearrangements.py). Any other,
input or output of a node, is

- *whole*, an output of the run, if it has at most 4,096 elements: reduced outside, all at once. Those of at most 1,024
  come stacked, up to 64 of one type and shape as one output: handing out an array costs more than such a tensor;
- *sampled* if it is larger, or of unknown size: its maximum, minimum and sum of squares are reduced in the graph, and
  up to 4,096 of its elements come out for the small-value quantities, which would cost as much as the inference itself
  if every element were examined;
- *exact* where it is not FP32, or where a first look found NaN or infinity: see exact_probes.py.

Tensors in bodies are exact, but for small ones in the branches of Ifs, which are handed out whole: see branches.py.

Reductions and stacks are appended in reverse order of the tensors they wait for (graph inputs count as the last): ONNX
Runtime orders leaves last in, first out, and otherwise every intermediate would stay alive until the last of them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from autocast_core.calibrate.branches import WHOLE_ELEMENTS, handed_out, small_in_branches
from autocast_core.calibrate.exact_probes import is_float_tensor, probe, stats_of
from autocast_core.calibrate.rearrangements import rearrangements
from autocast_core.calibrate.statistics import TensorStats
from autocast_core.calibrate.temporary_nodes import TemporaryNodes
from autocast_core.calibrate.tensor_sizes import Sizes
from autocast_core.config import Precision
from autocast_core.graph.names import unused_names

STACKED_TENSORS = 64
_STACKED_ELEMENTS = 1024
_PREFIX = "calibration"


@dataclass(frozen=True)
class Stack:
    """Tensors of one shape that come out as one array, along a new first axis; a single one comes as it is."""

    names: tuple[str, ...]

    def tensors(self, array: np.ndarray) -> Iterable[np.ndarray]:
        """The tensors, the stacked ones flat."""
        return array.reshape(len(self.names), -1) if len(self.names) > 1 else [array]


class Reduced(NamedTuple):
    """A sampled tensor as the graph reduces it: scalars, and a 1-d sample of at most 4,096 elements where small values
    are measured. FP32 all; `sum_squares` is there to find NaN, which maxima and minima may ignore."""

    highest: np.ndarray
    lowest: np.ndarray
    sum_squares: np.ndarray
    sample: np.ndarray | None = None


@dataclass(frozen=True)
class ProbeResults:
    """One run's outputs by what they are: `whole` follows the names in Probes.whole, `sampled` those in Probes.sampled;
    `counts` has the number of elements of sampled tensors that were measured in the run; `exact` is by name."""

    whole: Sequence[np.ndarray]
    sampled: Sequence[Reduced]
    counts: Mapping[str, int]
    exact: Mapping[str, TensorStats]


@dataclass(frozen=True)
class Probes:
    """What the outputs of an instrumented model are, in order.

    One array for each stack in `whole`; then for each in `sampled` the fields of Reduced, the last with `small` alone;
    then a number of elements for each group of tensors in `sizes`; then the vectors for the tensors in `exact`.
    """

    whole: tuple[Stack, ...] = ()
    sampled: tuple[str, ...] = ()
    sizes: tuple[tuple[str, ...], ...] = ()
    exact: tuple[str, ...] = ()
    small: bool = False

    @property
    def whole_names(self) -> tuple[str, ...]:
        """The names of the whole tensors, in the order in which `decode` gives them."""
        return tuple(name for stack in self.whole for name in stack.names)

    def decode(self, outputs: Sequence[np.ndarray]) -> ProbeResults:
        """The outputs of one run by what they are."""
        rest = iter(outputs)
        fields = len(Reduced._fields) if self.small else len(Reduced._fields) - 1
        whole = [tensor for stack in self.whole for tensor in stack.tensors(next(rest))]
        sampled = [Reduced(*islice(rest, fields)) for _ in self.sampled]
        counts: dict[str, int] = {}
        for names, count in zip(self.sizes, islice(rest, len(self.sizes)), strict=True):
            counts |= dict.fromkeys(names, int(count))
        return ProbeResults(whole, sampled, counts, stats_of(self.exact, list(rest), self.small) if self.exact else {})


@contextmanager
def instrumented(
    model: ir.Model, sizes: Sizes, precision: Precision, small: bool, stacked: int = STACKED_TENSORS
) -> Iterator[Probes]:
    """`model` with statistics as its outputs, as long as the context lasts; afterwards it is as before.

    `small` asks for the small-value quantities too; `stacked` is the most tensors that come as one output. A run fails
    where tensors of a stack turn out to have other shapes than the model declares.
    """
    rearranged = rearrangements(model.graph)
    made = (value for node in model.graph if node.op_type != "Constant" for value in node.outputs)
    own = (value for value in made if value not in rearranged)
    values = [value for value in (*own, *model.graph.inputs) if value.name and is_float_tensor(value)]
    small_enough = {name for name, count in sizes.counts.items() if count <= WHOLE_ELEMENTS}
    whole = [v for v in values if v.name in small_enough and v.dtype != ir.DataType.BFLOAT16]
    sampled = [v for v in values if v.name not in small_enough and v.dtype == ir.DataType.FLOAT]
    chosen = {v.name for v in values} - {v.name for v in whole} - {v.name for v in sampled}
    stacks = _stacks(whole, sizes, stacked)
    in_branches = small_in_branches(model.graph)
    with _changed(model) as writer:
        vectors = probe(
            writer, lambda value: value.name in chosen, precision, small, inputs=True, except_for=in_branches
        )
        branches = handed_out(writer, in_branches)
        groups = _groups(writer, [v for v in sampled if v.name not in sizes.counts], sizes)

        def results_of(tensors: Sequence[ir.Value]) -> list[ir.Value]:
            value, name = tensors[0], str(tensors[0].name)
            if name in small_enough:
                return [_stacked(writer, tensors)]
            return _reductions(writer, value, groups.get(value), sizes.counts.get(name), small)

        results = _made_in_reverse([*stacks, *([value] for value in sampled)], values, results_of)
        _finish(
            writer,
            [
                *itertools.chain.from_iterable(results[: len(stacks)]),
                *branches.values(),
                *itertools.chain.from_iterable(results[len(stacks) :]),
                *dict.fromkeys(groups.values()),
                *(vectors.values if vectors else ()),
            ],
        )
        members: dict[ir.Value, list[str]] = {}
        for value, size in groups.items():
            members.setdefault(size, []).append(str(value.name))
        yield Probes(
            tuple(Stack(_names(stack)) for stack in (*stacks, *([value] for value in branches))),
            _names(sampled),
            tuple(map(tuple, members.values())),
            vectors.names if vectors else (),
            small,
        )


@contextmanager
def instrumented_exactly(
    model: ir.Model, names: Collection[str], precision: Precision, small: bool
) -> Iterator[Probes]:
    """`model` with exact statistics of the tensors `names` of its main graph as its outputs, and of all bodies."""
    with _changed(model) as writer:
        vectors = probe(writer, lambda value: value.name in names, precision, small, inputs=False)
        _finish(writer, vectors.values if vectors else ())
        yield Probes(exact=vectors.names if vectors else (), small=small)


@contextmanager
def _changed(model: ir.Model) -> Iterator[TemporaryNodes]:
    with ExitStack() as undo:
        yield TemporaryNodes(
            model.graph, unused_names(model.graph).numbered(_PREFIX), model.opset_imports.get("", 1), undo
        )


def _finish(writer: TemporaryNodes, outputs: Collection[ir.Value]) -> None:
    writer.commit()
    # A model without float tensors keeps its outputs: that it runs is worth knowing too.
    if outputs:
        writer.set_outputs(outputs)


def _stacks(values: Sequence[ir.Value], sizes: Sizes, most: int) -> list[list[ir.Value]]:
    """`values`, small ones of one type and shape together, `most` at most."""
    stacks: list[list[ir.Value]] = []
    unfilled: dict[object, list[ir.Value]] = {}
    for value in values:
        dims = sizes.static[str(value.name)]
        if not dims or not 0 < sizes.counts[str(value.name)] <= _STACKED_ELEMENTS:
            stacks.append([value])
            continue
        stack = unfilled.setdefault((value.dtype, dims), [])
        if not stack:
            stacks.append(stack)
        stack.append(value)
        if len(stack) == most:
            del unfilled[value.dtype, dims]
    return stacks


def _made_in_reverse(
    wanted: Sequence[Sequence[ir.Value]],
    order: Sequence[ir.Value],
    make: Callable[[Sequence[ir.Value]], list[ir.Value]],
) -> list[list[ir.Value]]:
    """What `make` gives of each of `wanted`, made in reverse `order` of the last tensors that they wait for."""
    position = {value: index for index, value in enumerate(order)}
    last = [position[tensors[-1]] for tensors in wanted]
    made = {index: make(wanted[index]) for index in sorted(range(len(wanted)), key=last.__getitem__, reverse=True)}
    return [made[index] for index in range(len(wanted))]


def _stacked(writer: TemporaryNodes, stack: Sequence[ir.Value]) -> ir.Value:
    if len(stack) == 1:
        return stack[0]
    # Concat would join tensors of different lengths too, and elements could no longer be told apart.
    value = writer("ConcatFromSequence", writer("SequenceConstruct", *stack), axis=0, new_axis=1)
    value.type = stack[0].type
    return value


def _groups(writer: TemporaryNodes, values: Sequence[ir.Value], sizes: Sizes) -> dict[ir.Value, ir.Value]:
    """The number of elements, computed in the graph, of each tensor whose size is not known.

    Tensors of one symbolic shape share it; it is taken of the first, so that no tensor has to wait for a later one.
    """
    by_shape: dict[object, ir.Value] = {}
    found = {}
    for value in values:
        key = sizes.symbolic.get(str(value.name), value)
        if key not in by_shape:
            by_shape[key] = writer("Size", value)
            by_shape[key].type = ir.TensorType(ir.DataType.INT64)
        found[value] = by_shape[key]
    return found


def _reductions(
    writer: TemporaryNodes, value: ir.Value, size: ir.Value | None, count: int | None, small: bool
) -> list[ir.Value]:
    """The fields of Reduced, in their order."""
    results = [
        writer("ReduceMax", value, keepdims=0),
        writer("ReduceMin", value, keepdims=0),
        writer("ReduceSumSquare", value, keepdims=0),
    ]
    if small:
        flat = writer("Reshape", value, writer.constant(np.array([-1])))
        results.append(_every_nth(writer, flat, count) if count is not None else _drawn(writer, flat, size))
    for result in results:
        result.type = ir.TensorType(ir.DataType.FLOAT)
    return results


def _every_nth(writer: TemporaryNodes, flat: ir.Value, count: int) -> ir.Value:
    start, end, axis = (writer.constant(np.array([number])) for number in (0, count, 0))
    return writer("Slice", flat, start, end, axis, writer.constant(np.array([sample_step(count)])))


def sample_step(count: int) -> int:
    """The step at which a flattened tensor of `count` elements is sampled: the smallest that gives at most 4,096 of
    them and has no divisor in common with `count`.

    So it has none in common with the length of any dimension either, and meets all of its indices about equally often:
    no channel can hide.
    """
    step = -(-count // WHOLE_ELEMENTS)
    while math.gcd(step, count) != 1:
        step += 1
    return step


def _drawn(writer: TemporaryNodes, flat: ir.Value, size: ir.Value | None) -> ir.Value:
    """The elements at `sample_indices` of a size that only the run knows."""
    assert size is not None
    return writer("Gather", flat, writer.once(("indices", size), lambda: _indices_of(writer, size)))


def _indices_of(writer: TemporaryNodes, size: ir.Value) -> ir.Value:
    """`sample_indices` in the graph; none of an empty tensor."""
    exact = writer("Cast", size, to=int(ir.DataType.DOUBLE))
    scaled = writer("Mul", exact, writer.constant(_positions()))
    indices = writer("Cast", scaled, to=int(ir.DataType.INT64))
    count = writer(
        "Reshape", writer("Mul", size, writer.constant(np.array(WHOLE_ELEMENTS))), writer.constant(np.array([1]))
    )
    return writer("Slice", indices, writer.constant(np.array([0])), count)


def sample_indices(count: int) -> np.ndarray:
    """Indices of 4,096 elements spread over a flattened tensor of `count`, int64, ascending.

    One element from each of 4,096 equal stretches, at a place drawn once and for all, so that no regularity of the
    tensor (a channel, say) can hide. Repeats indices where `count` is smaller.
    """
    return (_positions() * count).astype(np.int64)


@lru_cache(maxsize=1)
def _positions() -> np.ndarray:
    return (np.arange(WHOLE_ELEMENTS) + np.random.default_rng(0).random(WHOLE_ELEMENTS)) / WHOLE_ELEMENTS


def _names(values: Collection[ir.Value]) -> tuple[str, ...]:
    return tuple(str(value.name) for value in values)
