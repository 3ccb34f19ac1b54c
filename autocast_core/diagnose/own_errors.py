"""Errors that arise at a tensor: the candidate's nodes run on the reference's inputs, on one batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from autocast_core.diagnose.distances import DistanceSums, array_distance
from autocast_core.diagnose.matching.segments import MatchedSegment
from autocast_core.diagnose.part_views import part_of, read_from_inputs
from autocast_core.graph.names import values_by_name
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


def reference_values(
    model: ir.Model,
    values: Iterable[ir.Value],
    feeds: Feeds,
    runtime: Runtime,
    known: Feeds = MappingProxyType({}),
) -> ReferenceValues:
    """Whole `values` of the reference as it runs on `feeds`, with those `known`: only what they need is run."""
    inputs = {str(value.name) for value in model.graph.inputs}
    names = list(dict.fromkeys(str(value.name) for value in values))
    found = {name: np.asarray(feeds[name]) for name in names if name in inputs and name in feeds}
    found |= known
    names = [name for name in names if name not in found]
    if names:
        part = part_of(model, _values(model, names))
        with closing(runtime.open(part, exact=True, few_runs=True)) as session:
            found |= dict(zip(names, map(np.asarray, session.run(feeds)), strict=True))
    return ReferenceValues(found)


def own_errors(
    simulated: ir.Model, segments: Sequence[MatchedSegment], values: ReferenceValues, feeds: Feeds, runtime: Runtime
) -> dict[ir.Value, OwnError]:
    """The own errors of `segments`, by their values of the candidate; `simulated` is the candidate in FP32, whose
    values have the same names, `feeds` what it is fed. Two runs of one session. BackendError where it does not run."""
    given = {str(v.name): values.of(r) for s in segments for v, r in s.fed.items()}
    low = {str(v.name): v.dtype for s in segments for v in s.inputs if v.dtype in LOW_DTYPES}
    names = [str(segment.value.name) for segment in segments]
    with read_from_inputs(simulated, list(given)) as ports:
        part = part_of(simulated, _values(simulated, names), _added(ports))
        with closing(runtime.open(part, exact=True, few_runs=True)) as session:
            exact = _fed(ports, given)
            first = session.run({**feeds, **exact})
            rounded = {name: _rounded(array, low[name]) if name in low else array for name, array in given.items()}
            second = session.run({**feeds, **_fed(ports, rounded)})
    found = {}
    for segment, one, two in zip(segments, first, second, strict=True):
        expected = values.of(segment.reference)
        exactly, rounding = np.asarray(one), np.asarray(two)
        found[segment.value] = OwnError(array_distance(expected, exactly), array_distance(expected, rounding), exactly)
    return found


def fixed_outputs(
    simulated: ir.Model, given: Feeds, outputs: Sequence[str], feeds: Feeds, runtime: Runtime
) -> list[np.ndarray]:
    """The candidate's `outputs` where its tensors `given`, by name, alone are the reference's."""
    rest: dict[str, np.ndarray] = dict(given)
    wanted = [each for each in dict.fromkeys(outputs) if each not in given]
    if wanted:
        with read_from_inputs(simulated, list(given)) as ports:
            part = part_of(simulated, _values(simulated, wanted), _added(ports))
            with closing(runtime.open(part, exact=True, few_runs=True)) as session:
                found = session.run({**feeds, **_fed(ports, given)})
        rest |= dict(zip(wanted, map(np.asarray, found), strict=True))
    return [rest[each] for each in outputs]


def _values(model: ir.Model, names: Iterable[str]) -> list[ir.Value]:
    known = values_by_name(model.graph)
    return [known[name] for name in names]


def _added(ports: Mapping[str, ir.Value]) -> list[ir.Value]:
    return [port for port in ports.values() if not port.is_graph_input()]


def _fed(ports: Mapping[str, ir.Value], arrays: Feeds) -> dict[str, np.ndarray]:
    """What the inputs `ports` are fed for `arrays`, in the inputs' types."""
    return {str(ports[name].name): typed(array, ports[name].dtype) for name, array in arrays.items()}


def typed(array: np.ndarray, dtype: ir.DataType | None) -> np.ndarray:
    """`array` in the type `dtype`, what is beyond it as infinity; as it is without one."""
    with np.errstate(all="ignore"):
        return array if dtype is None else array.astype(dtype.numpy())


def _rounded(array: np.ndarray, dtype: ir.DataType | None) -> np.ndarray:
    assert dtype is not None
    with np.errstate(all="ignore"):
        return array.astype(dtype.numpy()).astype(np.float32)
