"""A fault as two small models that are run beside each other."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from autocast_core.diagnose.distances import DistanceSums, array_distance
from autocast_core.diagnose.own_errors import typed
from autocast_core.diagnose.reproduction.sub_models import Arrays
from autocast_core.errors import BackendError
from autocast_core.runtime import Runtime
from autocast_core.simulate import Accumulate, simulate

STILL_SHOWN = 0.5
"""The share of an error that a reproduction of it must have."""


@dataclass(frozen=True)
class Fault:
    """Two models that should give the same, and what each is fed. `reference` is None where only what it gave is
    known, `expected`. The candidate is simulated with the accumulation `accumulate`."""

    candidate: ir.Model
    candidate_feeds: Arrays
    reference: ir.Model | None
    reference_feeds: Arrays = field(default_factory=dict)
    expected: np.ndarray | None = None
    accumulate: Accumulate = Accumulate.FP32

    def run(self, runtime: Runtime) -> Shown:
        """What both give, the candidate in simulation. BackendError where one does not run."""
        if self.reference is None:
            assert self.expected is not None
            expected = self.expected
        else:
            expected = _run(self.reference, self.reference_feeds, runtime)
        return Shown(expected, _run(simulate(self.candidate, self.accumulate), self.candidate_feeds, runtime))


@dataclass(frozen=True)
class Shown:
    """What the reference and the candidate give."""

    expected: np.ndarray
    found: np.ndarray

    @property
    def distance(self) -> DistanceSums:
        """How far they are apart; infinitely where the sizes differ."""
        return array_distance(self.expected, self.found)

    def is_as_bad_as(self, before: Shown) -> bool:
        """Whether at least half of the error `before` is here, and NaN or infinity where it had some."""
        here, there = self.distance, before.distance
        if self.expected.size != self.found.size or not np.isfinite(self.expected).any():
            return before.expected.size != before.found.size and self.expected.size != self.found.size
        if there.new_infinite or there.new_nan:
            return bool(here.new_infinite or here.new_nan)
        return here.rel_l2 >= STILL_SHOWN * there.rel_l2 and np.isfinite(here.rel_l2)

    def worst_index(self) -> tuple[int, ...]:
        """Where the largest error is, NaN and infinity first, as an index into the candidate's result."""
        if self.expected.size != self.found.size or not self.found.size:
            return (0,) * self.found.ndim
        with np.errstate(all="ignore"):
            error = np.abs(self.found.astype(np.float64) - self.expected.reshape(self.found.shape).astype(np.float64))
        error[~np.isfinite(error)] = np.inf
        return tuple(int(n) for n in np.unravel_index(int(error.argmax()), error.shape))


def _run(model: ir.Model, feeds: Arrays, runtime: Runtime) -> np.ndarray:
    types = {str(value.name): value.dtype for value in model.graph.inputs}
    given = {name: typed(array, types.get(name)) for name, array in feeds.items() if name in types}
    with closing(runtime.open(model, exact=True, few_runs=True)) as session:
        found = session.run(given)[0]
    if not isinstance(found, np.ndarray):
        raise BackendError("the part gives no tensor")
    return found
