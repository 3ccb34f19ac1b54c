"""FP16 with BF16 where range was the reason: the oracle, which shares no code with the simulation, sees no ruin."""

import onnx
import pytest

from autocast_core import ConversionConfig, Precision, convert_file
from tests.hazards.judged import Planned, judge_file, planned
from tests.hazards.nets import HAZARDS

BOTH = (Precision.FP16, Precision.BF16)

RANGE = (
    "RMSNorm of a residual stream",
    "exp before log-sum-exp",
    "sum of thousands",
    "weight beyond the range",
    "areas of boxes in pixels",
    "mean of squares of audio samples",
    "cube of GELU where its tanh saturates",
    "scores scaled only after the product",
    "values of thousands through a linear layer",
    "outlier channel with small weights",
    "power spectrum by the operator STFT",
    "activations of a millionth",
    "product of many probabilities",
    "log of softmax",
)
PRECISION = (
    "bucket of a position",
    "durations that become frames",
    "hash of identifiers",
    "large biases that cancel",
    "rotary angles of 4096 positions",
    "scores of hundreds",
    "squared distance by its expansion",
    "time of day from seconds",
)


WITHIN_FP16 = (
    "scores scaled only after the product",
    "values of thousands through a linear layer",
    "outlier channel with small weights",
)
"""Kept by thresholds alone for magnitudes that FP16 holds with headroom."""
MODES = ("thresholds", "measured")


def _has_bf16(found: Planned) -> bool:
    return any(each.precision is Precision.BF16 for each in found.plan.nodes)


@pytest.mark.parametrize("name", RANGE)
def test_nodes_that_need_range_are_bf16_and_lose_nothing_that_counts(name):
    found = planned(HAZARDS[name], BOTH, decide="thresholds")
    alone = planned(HAZARDS[name], decide="thresholds")
    assert _has_bf16(found)
    assert len(found.kept) < len(alone.kept)
    assert found.judge(found.plan).good("fp16")


@pytest.mark.parametrize(
    "name", ["RMSNorm of a residual stream", "weight beyond the range", "areas of boxes in pixels", "sum of thousands"]
)
def test_measured_decisions_take_bf16_too(name):
    found = planned(HAZARDS[name], BOTH)
    assert _has_bf16(found)
    assert len(found.kept) < len(planned(HAZARDS[name]).kept)
    assert found.judge(found.plan).good("fp16")


@pytest.mark.parametrize("name", WITHIN_FP16)
def test_measured_decisions_need_no_bf16_for_what_fp16_holds(name):
    found, alone = planned(HAZARDS[name], BOTH), planned(HAZARDS[name])
    assert [each.precision for each in found.plan.nodes] == [each.precision for each in alone.plan.nodes]


@pytest.mark.parametrize("decide", MODES)
@pytest.mark.parametrize("name", PRECISION)
def test_nodes_that_need_precision_stay_in_fp32(name, decide):
    found, alone = planned(HAZARDS[name], BOTH, decide=decide), planned(HAZARDS[name], decide=decide)
    assert not _has_bf16(found)
    assert [each.precision for each in found.plan.nodes] == [each.precision for each in alone.plan.nodes]


@pytest.mark.parametrize("name", ["log-mel spectrum with silent bands", "log-mel spectrum of 16-bit samples"])
def test_what_bf16_turns_out_to_be_too_coarse_for_is_repaired(name, tmp_path):
    """Sums of products that cancel in single elements, of which a logarithm is taken: no statistic tells."""
    hazard = HAZARDS[name]
    onnx.save(hazard.model(), tmp_path / "net.onnx")
    config = ConversionConfig(precision=Precision.FP16, range_precision=Precision.BF16, batch_size=4, decide="measured")
    done = convert_file(tmp_path / "net.onnx", tmp_path / "out.onnx", config, calibration=hazard.calibration())
    rules = {each.id.removeprefix("graph/"): each.rule for each in done.plan.nodes}
    assert rules["real"] == rules["imaginary"] == "repair"
    assert rules["power"] == "range"
    assert judge_file(hazard, onnx.load(tmp_path / "out.onnx")).good("fp16")
