"""Plans made on 16 samples hold on 64 others whose numbers spread four times as far, with tails twice as long again.

That is the `headroom` of 8 that a spec asks for. Identifiers, masks and offsets stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from autocast_core import convert_file
from autocast_core.backends.onnxruntime.session import OnnxRuntime
from autocast_core.data import input_specs, open_batches
from autocast_core.evaluate import compare
from autocast_core.model import load_model
from autocast_core.simulate import simulate
from flows.request.spec import Spec
from tests.hazards.fidelity import TARGET, agreement
from tests.hazards.hazard import Feeds, Hazard
from tests.hazards.judged import Planned, planned
from tests.hazards.nets import HAZARDS
from tests.hazards.rounding_oracle import run_rounding
from tests.models import build
from tests.models.inputs import inputs
from tests.onnx_models import run_in_onnxruntime

SPREAD, TAIL, TAIL_SHARE = 4.0, 2.0, 0.01
DRAWS = 4
"""Of 16 samples each."""
LOWEST_AMPLITUDE = -1e3
"""Below, a float input is a mask."""
UNSAVED = ("one ruined batch", "few elements that cancel", "map that amplifies")
"""No rule saves them on ordinary data either: a gate finds them, or a repair by measuring."""
OUTSIDE = {
    "squares of larger values than in calibration": "its unseen values are 15 times larger, beyond the headroom",
    "fully masked rows of float.min": "rows with every key masked mean nothing",
    "log of softmax by its operator": "ONNX's reference evaluator takes the logarithm of a Softmax that underflows",
    "quantised to whole steps": "a number next to a step is a step off in 16 bits, on ordinary data too",
    "identifiers that index 30000 rows": "its table has no more rows",
    "identifiers below 200": "its table has no more rows",
    "bucket of a position": "its table has no more rows",
    "root by Newton's steps": "roots of negative numbers: the iteration diverges",
}
"""Nets that the wider data takes out of what they are for."""


def _sampled() -> list[object]:
    names = [name for name in HAZARDS if name not in UNSAVED and name not in OUTSIDE]
    return [
        name if number % 5 == 0 else pytest.param(name, marks=pytest.mark.slow) for number, name in enumerate(names)
    ]


@pytest.mark.parametrize("name", _sampled())
def test_nothing_new_breaks_in_a_net(name):
    found = planned(HAZARDS[name], decide="measured")
    for kind in ("ordinary", "wide"):
        for expected, rounded, samples in _held_out(found, wide=kind == "wide"):
            assert agreement(expected, rounded, samples).good("fp16"), kind


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet50", "vit_base", "swin_tiny"])
def test_nothing_new_breaks_in_an_architecture(name, tmp_path):
    built = build(name, tmp_path, layers=2)
    calibration = _joined(name, "calibration", range(8))
    config = Spec(batch_size=8).config()
    conversion = convert_file(built.path, tmp_path / "low.onnx", config, calibration=calibration)
    source = load_model(built.path)
    rng = np.random.default_rng(0)
    held_out = _wider(_joined(name, "evaluation", range(32)), rng)
    runtime = OnnxRuntime(("cpu",))
    reference = runtime.open(source)
    candidate = runtime.open(simulate(load_model(conversion.output.path)))
    found = compare(reference, candidate, open_batches(held_out, input_specs(source), batch_size=8)).worst
    assert found.new_nonfinite == 0
    assert found.sqnr_db >= TARGET["fp16"]


def test_the_wider_data_spreads_four_times_as_far_and_leaves_masks_and_identifiers_alone():
    rng = np.random.default_rng(0)
    x = rng.normal(300.0, 1.0, (64, 64)).astype(np.float32)
    feeds = {"x": x, "ids": np.arange(4), "mask": np.array([0.0, -1e4], np.float32), "ones": np.ones(4, np.float32)}
    wide = _wider(feeds, rng)
    assert wide["x"].mean() == pytest.approx(300.0, abs=0.5)
    assert 3.9 <= wide["x"].std() / x.std() <= 4.4
    for name in ("ids", "mask", "ones"):
        assert np.array_equal(wide[name], feeds[name])


def _held_out(found: Planned, *, wide: bool) -> Iterator[tuple[list[np.ndarray], list[np.ndarray], int]]:
    """For each draw what FP32 gives, what the oracle gives of the converted model, and the number of samples."""
    net: Hazard = found.hazard
    low = found.as_proto()
    for draw in range(DRAWS):
        rng = np.random.default_rng(100 + draw)
        feeds = net.samples(rng)
        if wide:
            feeds = _wider(feeds, rng)
        yield run_in_onnxruntime(net.model(), feeds), run_rounding(low, feeds), len(next(iter(feeds.values())))


def _wider(feeds: Feeds, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {name: _spread(array, rng) if _is_amplitude(array) else array for name, array in feeds.items()}


def _is_amplitude(array: np.ndarray) -> bool:
    is_flag = bool(np.isin(array, (0, 1)).all())
    return array.dtype == np.float32 and not is_flag and float(array.min()) > LOWEST_AMPLITUDE


def _spread(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    mean = array.mean(dtype=np.float64)
    factors = SPREAD * np.where(rng.random(array.shape) < TAIL_SHARE, TAIL, 1.0)
    return (mean + (array - mean) * factors).astype(np.float32)


def _joined(name: str, part: str, seeds: range) -> dict[str, np.ndarray]:
    """Two samples for each of `seeds`."""
    batches = [inputs(name, part, 4096, seed) for seed in seeds]
    return {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
