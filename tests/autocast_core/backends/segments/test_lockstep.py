"""What reads the same weights goes side by side, and whoever fails does so alone."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from autocast_core.backends.onnxruntime import OnnxRuntime
from autocast_core.backends.segments import Lockstep, SegmentedRuntime
from autocast_core.errors import BackendError
from autocast_core.runtime import Session
from tests.autocast_core.backends.segments.test_cut_graph import ROW, SQUARES, model_of

CPU = OnnxRuntime(threads=1)
DATA = [{"x": np.ones((2, 4), np.float32)}]


class Noting:
    """ONNX Runtime, and which product each segment that it opened begins with, by the name of the model's graph."""

    name = "noting"

    def __init__(self, refused: str = "") -> None:
        self.opened: list[str] = []
        self._refused = refused

    def open(self, model: ir.Model, **options: object) -> Session:
        first = f"{model.graph.name} {next(iter(model.graph)).name}"
        if first == self._refused:
            raise BackendError("no")
        self.opened.append(first)
        return CPU.open(model, exact=True)


def opener(runtime: SegmentedRuntime, name: str) -> Callable[[], Session]:
    model = model_of(ROW.replace("g (", f"{name} ("), **SQUARES)
    return lambda: runtime.open(model, exact=True, batches=DATA)


def test_sessions_in_segments_go_through_the_same_weights_one_after_the_other() -> None:
    noting = Noting()
    with Lockstep() as lockstep:
        runtime = SegmentedRuntime(noting, 4, lockstep=lockstep)
        later = lockstep.later(opener(runtime, "b"))
        first = opener(runtime, "a")()
        assert (noting.opened, later.is_open) == (["a m0"], False)
        outputs = first.run(DATA[0])
        assert noting.opened == ["a m0", "b m0", "b m1", "a m1", "b m2", "a m2", "b m3", "a m3"]
        np.testing.assert_array_equal(later().run(DATA[0]), outputs)
    assert len(noting.opened) == 8


def test_a_session_that_runs_whole_is_opened_when_it_is_asked_for() -> None:
    noting = Noting()
    with Lockstep() as lockstep:
        runtime = SegmentedRuntime(noting, 1, lockstep=lockstep)
        later = lockstep.later(opener(runtime, "b"))
        opener(runtime, "a")().run(DATA[0])
        assert noting.opened == ["a m0"]
        assert later() is later()
        assert noting.opened == ["a m0", "b m0"]


@pytest.mark.parametrize("refused", ["b m0", "b m2"])
def test_what_fails_is_told_where_it_is_asked_for_and_keeps_no_other_from_its_end(refused: str) -> None:
    with Lockstep() as lockstep:
        runtime = SegmentedRuntime(Noting(refused), 4, lockstep=lockstep)
        later = lockstep.later(opener(runtime, "b"))
        assert opener(runtime, "a")().run(DATA[0])[0].shape == (2, 4)
        with pytest.raises(BackendError, match="no"):
            later().run(DATA[0])


class Steps:
    """A member of so many steps."""

    def __init__(self, steps: int) -> None:
        self.taken, self._steps = 0, steps
        self.released: list[float] = []

    @property
    def done(self) -> float:
        return self.taken / self._steps

    def advance(self) -> None:
        self.taken += 1

    def release(self, share: float) -> None:
        self.released.append(share)


def test_members_of_any_number_of_steps_end_together() -> None:
    lockstep, few, many = Lockstep(), Steps(2), Steps(9)
    for member in (few, many):
        lockstep.join(member)
    lockstep.run()
    assert (few.taken, many.taken) == (2, 9)
    assert few.released == many.released == [1 / 9, 2 / 9, 3 / 9, 4 / 9, 1 / 2, 5 / 9, 6 / 9, 7 / 9, 8 / 9]
