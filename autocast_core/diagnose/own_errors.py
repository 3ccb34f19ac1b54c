"""Errors that arise at a tensor: the candidate's nodes run on the reference's inputs, on one batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from autocast_core.diagnose.distances import DistanceSums, array_distance
from autocast_core.diagnose.matching.segments import Segment
from autocast_core.graph.names import unused_names
from autocast_core.number_formats import LOW_DTYPES
from autocast_core.runtime import Runtime

Feeds = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class OwnError:
    """Of one segment: `exact` with the reference's inputs as they are, `rounded` with those rounded to the types in
    which the candidate has them; `found` is the output of the first."""

    exact: DistanceSums
    rounded: DistanceSums
    found: np.ndarray


@dataclass(frozen=True)
class ReferenceValues:
    """Whole tensors of the reference on one batch, by name."""

    arrays: Mapping[str, np.ndarray]

    def of(self, value: ir.Value) -> np.ndarray:
        """The tensor `value`."""
        return self.arrays[str(value.name)]


def reference_values(model: ir.Model, values: Iterable[ir.Value], feeds: Feeds, runtime: Runtime) -> ReferenceValues:
    """Whole `values` of the reference as it runs on `feeds`: only what they need is run."""
    inputs = {str(value.name): value for value in model.graph.inputs}
    names = list(dict.fromkeys(str(value.name) for value in values))
    found = {name: np.asarray(feeds[name]) for name in names if name in inputs and name in feeds}
    names = [name for name in names if name not in found]
    if names:
        part = extracted(model, list(inputs), names)
        with closing(runtime.open(part, exact=True, few_runs=True)) as session:
            found |= dict(zip(names, map(np.asarray, session.run(feeds)), strict=True))
    return ReferenceValues(found)


def own_errors(
    simulated: ir.Model, segments: Sequence[Segment], values: ReferenceValues, feeds: Feeds, runtime: Runtime
) -> dict[ir.Value, OwnError]:
    """The own errors of `segments`, by their values of the candidate; `simulated` is the candidate in FP32, whose
    values have the same names, `feeds` what it is fed. Two runs of one session. BackendError where it does not run."""
    given = {str(v.name): values.of(r) for s in segments for v, r in s.fed.items()}
    low = {str(v.name): v.dtype for s in segments for v in s.inputs if v.dtype in LOW_DTYPES}
    names = [str(segment.value.name) for segment in segments]
    apart, feeds_of = _cut(simulated, list(given), names)
    exact = {feeds_of[name][0]: _typed(array, feeds_of[name][1]) for name, array in given.items()}
    rounded = {
        feeds_of[name][0]: exact[feeds_of[name][0]] if name not in low else _rounded(given[name], low[name])
        for name in given
    }
    with closing(runtime.open(apart, exact=True, few_runs=True)) as session:
        first, second = session.run({**feeds, **exact}), session.run({**feeds, **rounded})
    found = {}
    for segment, one, two in zip(segments, first, second, strict=True):
        expected = values.of(segment.reference)
        found[segment.value] = OwnError(_compared(expected, one), _compared(expected, two), np.asarray(one))
    return found


def mended_outputs(
    simulated: ir.Model, given: Feeds, outputs: Sequence[str], feeds: Feeds, runtime: Runtime
) -> list[np.ndarray]:
    """The candidate's `outputs` where its tensors `given`, by name, alone are the reference's."""
    rest: dict[str, np.ndarray] = dict(given)
    wanted = [each for each in outputs if each not in given]
    if wanted:
        apart, feeds_of = _cut(simulated, list(given), wanted)
        fed = {feeds_of[name][0]: _typed(array, feeds_of[name][1]) for name, array in given.items()}
        with closing(runtime.open(apart, exact=True, few_runs=True)) as session:
            rest |= dict(zip(wanted, map(np.asarray, session.run({**feeds, **fed})), strict=True))
    return [rest[each] for each in outputs]


def extracted(model: ir.Model, inputs: Sequence[str], outputs: Sequence[str]) -> ir.Model:
    """The part of `model` that computes `outputs` from `inputs`, names of values of its main graph."""
    graph = ir.convenience.extract(model.graph, inputs, outputs)
    return ir.Model(graph, ir_version=model.ir_version)


def _cut(
    model: ir.Model, given: Sequence[str], outputs: Sequence[str]
) -> tuple[ir.Model, dict[str, tuple[str, ir.DataType | None]]]:
    """A copy of `model` in which the readers of the values `given` read new inputs instead, reduced to `outputs`; and
    by value the name and the type of its input."""
    copy = model.clone()
    graph = copy.graph
    values = {str(v.name): v for vs in (graph.inputs, *(n.outputs for n in graph)) for v in vs if v.name}
    names = unused_names(graph).numbered("given")
    inputs: dict[str, tuple[str, ir.DataType | None]] = {}
    added: list[str] = []
    for name in given:
        value = values[name]
        if value.is_graph_input():
            inputs[name] = name, value.dtype
            continue
        replacement = ir.Value(name=next(names), type=value.type)
        for node, index in list(value.uses()):
            node.replace_input_with(index, replacement)
        graph.inputs.append(replacement)
        inputs[name] = str(replacement.name), value.dtype
        added.append(str(replacement.name))
    if not outputs:
        return copy, inputs
    own = [str(v.name) for v in graph.inputs if str(v.name) not in added]
    return extracted(copy, [*own, *added], list(dict.fromkeys(outputs))), inputs


def _compared(expected: np.ndarray, found: np.ndarray) -> DistanceSums:
    array = np.asarray(found)
    if array.size != expected.size:
        return DistanceSums(array.size, float("inf"), max_abs=float("inf"))
    return array_distance(expected, array)


def _typed(array: np.ndarray, dtype: ir.DataType | None) -> np.ndarray:
    with np.errstate(all="ignore"):
        return array if dtype is None else array.astype(dtype.numpy())


def _rounded(array: np.ndarray, dtype: ir.DataType | None) -> np.ndarray:
    assert dtype is not None
    with np.errstate(all="ignore"):
        return array.astype(dtype.numpy()).astype(np.float32)
