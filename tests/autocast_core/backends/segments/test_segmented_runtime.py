"""When models run in segments, and that statistics, fidelity and attribution do not depend on it."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import onnx_ir as ir
import pytest

from autocast_core.backends.onnxruntime import OnnxRuntime
from autocast_core.backends.segments import SegmentedRuntime
from autocast_core.backends.segments.segmented_runtime import needed_parts
from autocast_core.backends.segments.segmented_session import SegmentedSession
from autocast_core.calibrate import Statistics, calibrate
from autocast_core.config import ConversionConfig, Precision
from autocast_core.evaluate.metric_names import ONNXRUNTIME
from autocast_core.pipeline.convert import convert_in_memory
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.stage import Artifacts, in_this_process, run_stages
from autocast_core.pipeline.stages.evaluate import EVALUATE, Evaluated
from autocast_core.pipeline.stages.explain import EXPLAIN
from autocast_core.plan import PrecisionPlan
from autocast_core.search.attribution import Attribution
from tests.autocast_core.backends.segments.test_cut_graph import ROW, SQUARES, model_of
from tests.models import build

CPU = OnnxRuntime(threads=1)
BATCHES = [{"x": np.ones((2, 4), np.float32)}]
FREE = "autocast_core.backends.segments.segmented_runtime.available_bytes"


def chain(length: int) -> ir.Model:
    """So many products, each with a weight of 64 bytes."""
    names = [f"w{n}" for n in range(length)]
    steps = " ".join(f"a{n + 1} = MatMul(a{n}, w{n})" for n in range(length))
    weights = ", ".join(f"float[4, 4] {name}" for name in names)
    text = f"g (float[N, 4] a0) => (float[N, 4] a{length}) <{weights}> {{ {steps} }}"
    return model_of(text, **dict.fromkeys(names, (4, 4)))


@pytest.mark.parametrize(
    ("free", "optimised", "parts"),
    [(4000, False, 1), (2000, False, 1), (1900, False, 7), (1900, True, 19), (None, True, 1), (0, False, 30)],
)
def test_segments_are_as_many_as_the_free_memory_asks_for(
    free: int | None, optimised: bool, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """30 weights of 64 bytes."""
    monkeypatch.setattr(FREE, lambda: free)
    batches = [{"a0": np.ones((2, 4), np.float32)}]
    assert needed_parts(chain(30), batches, optimised=optimised) == parts


def test_a_model_that_needs_more_than_is_free_runs_in_segments_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    model, runtime = model_of(ROW, **SQUARES), SegmentedRuntime(CPU)
    assert not isinstance(runtime.open(model, exact=True, batches=BATCHES), SegmentedSession)
    monkeypatch.setattr(FREE, lambda: 200)
    assert isinstance(runtime.open(model, exact=True, batches=BATCHES), SegmentedSession)
    assert not isinstance(runtime.open(model, exact=True), SegmentedSession)


class Varied:
    """Batches of several shapes."""

    origin: Literal["calibration"] = "calibration"
    digest, labels = "0", None

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        self._feeds = [{"x": array} for array in arrays]

    def __len__(self) -> int:
        return len(self._feeds)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return iter(self._feeds)


def test_statistics_are_the_wholes_where_batches_differ_in_shape_and_hold_infinity() -> None:
    model = model_of(ROW.replace("b1 = Relu(a1)", "b1 = Exp(a1)"), **SQUARES)
    shapes = ((2, 0.1), (2, 30.0), (1500, 0.2), (3, 0.3))
    batches = Varied([np.full((rows, 4), value, np.float32) for rows, value in shapes])
    found = [calibrate(model, batches, SegmentedRuntime(CPU, parts), Precision.FP16) for parts in (1, 4)]
    assert found[0] == found[1]
    assert found[0].skipped is None
    assert found[0].tensors["b1"].nonfinite > 0


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory):
    return build("bert_base", tmp_path_factory.mktemp("bert"), layers=2)


def explained(built, parts: int) -> Artifacts:
    config = ConversionConfig(segments=parts, decide="measured", repair_evaluations=0)
    job = Job(built.path, config, built.calibration, built.evaluation)
    return run_stages((EVALUATE, EXPLAIN), in_this_process(job), convert_in_memory(job))


def test_plan_attribution_and_fidelity_of_a_transformer_in_six_segments_are_the_wholes(built) -> None:
    whole, cut = explained(built, 1), explained(built, 6)
    assert cut[Statistics] == whole[Statistics]
    assert cut[PrecisionPlan].to_json() == whole[PrecisionPlan].to_json()
    assert cut[Attribution] == whole[Attribution]
    assert cut[Attribution].nodes
    assert (cut[Evaluated].attribution is None, whole[Evaluated].attribution) == (False, None)
    assert cut[Evaluated].metrics.keys() == whole[Evaluated].metrics.keys()
    # Optimised sessions fuse across cuts: the reference's, and that of the 16-bit model, which rounds less then.
    for name, value in whole[Evaluated].metrics.items():
        tolerance = 0.3 if name.startswith(ONNXRUNTIME) else 1e-5
        assert cut[Evaluated].metrics[name] == pytest.approx(value, rel=tolerance, abs=2e-6), name
