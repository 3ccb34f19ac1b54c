"""Statistics of stretches of the data, measured apart: together they are the whole's, to the last bit."""

from itertools import chain

import numpy as np
import onnx
import onnx.shape_inference
import onnx_ir as ir
import pytest

from autocast_core.backends.onnxruntime import OnnxRuntime
from autocast_core.calibrate import STRETCH, BatchSpan, Calibrated, Statistics, calibrate, merged, stretches
from autocast_core.config import Precision
from autocast_core.data import DataBatches, input_specs, open_batches

BATCHES = 2 * STRETCH + 5
MODEL = """<ir_version: 10, opset_import: ["": 18]>
g (float[N, L] x) => (float[N, L] y, float[N, L] z) {
    a = Exp(x) y = Softmax(a) b = Log(x) z = Mul(b, y)
}"""


def model() -> ir.Model:
    return ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(MODEL)))


@pytest.fixture
def folder(tmp_path):
    """Files of one or two batches of which some are longer, and some hold numbers whose logarithm is not finite."""
    rng = np.random.default_rng(3)
    for number in range(BATCHES):
        x = rng.uniform(0.1, 3.0, (1 + number % 2, 70 if number % 5 == 3 else 60)).astype("f4")
        if number % 9 == 4:
            x[0, :3] = -1.0, 0.0, 1e-30
        np.savez(tmp_path / f"{number:04}.npz", x=x)
    return tmp_path


def opened(source) -> DataBatches:
    batches = open_batches(source, input_specs(model()))
    assert isinstance(batches, DataBatches)
    return batches


def test_stretches_measured_apart_are_the_whole_to_the_last_bit(folder):
    whole = calibrate(model(), opened(folder), OnnxRuntime(threads=2), Precision.FP16)
    assert any(stats.nonfinite for stats in whole.tensors.values())
    layout = opened(folder).layout()
    parts: dict[int, list[Statistics]] = {}
    for start in reversed(range(0, len(layout), STRETCH)):  # in whatever order
        span = layout.span(start, start + STRETCH)
        batches = opened(tuple(folder / name for name in span.files))
        mine = BatchSpan(batches, span.skipped, span.skipped + span.count)
        calibrated = Calibrated(model(), Precision.FP16, True, OnnxRuntime(threads=1))
        parts[start] = list(stretches(calibrated, mine, layout.shapes))
    ordered = chain.from_iterable(parts[start] for start in sorted(parts))
    assert merged(model(), ordered, whole.digest or "").to_json() == whole.to_json()


def test_several_stretches_measured_at_once_are_the_same_as_one_by_one(folder):
    layout, batches = opened(folder).layout(), opened(folder)
    calibrated = Calibrated(model(), Precision.FP16, True, OnnxRuntime(threads=1))
    together = list(stretches(calibrated, BatchSpan(batches, 0, 2 * STRETCH), layout.shapes))
    second = list(stretches(calibrated, BatchSpan(batches, STRETCH, 2 * STRETCH), layout.shapes))
    assert [each.batches for each in together] == [STRETCH, STRETCH]
    assert together[1].to_json() == second[0].to_json()


def test_a_layout_says_which_files_hold_a_span_of_batches(tmp_path):
    for name, count in (("a", 3), ("b", 1), ("c", 4)):
        np.savez(tmp_path / f"{name}.npz", x=np.ones((count, 5), "f4"))
    layout = opened(tmp_path).layout()
    assert (layout.files, layout.counts, layout.shapes) == (("a.npz", "b.npz", "c.npz"), (3, 1, 4), {"x": (1, 5)})
    span = layout.span(2, 6)
    assert (span.files, span.skipped, span.count) == (("a.npz", "b.npz", "c.npz"), 2, 4)
    assert layout.span(3, 4).files == ("b.npz",)
    assert (layout.span(7, 99).files, layout.span(7, 99).skipped, layout.span(7, 99).count) == (("c.npz",), 3, 1)
