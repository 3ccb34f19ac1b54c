"""AutoCast's limits of range are made for FP16."""

import pytest

from autocast_core.config import ConversionConfig, Precision
from autocast_core.decide.ranges.range_limits import range_limit

LARGEST = Precision.BF16.max


@pytest.mark.parametrize(
    ("precision", "decide", "given", "limits"),
    [
        ("fp16", "thresholds", {}, (512.0, 65504.0)),
        ("fp16", "measured", {}, (512.0, 65504.0)),
        ("bf16", "thresholds", {}, (512.0, 65504.0)),
        ("bf16", "measured", {}, (LARGEST, LARGEST)),
        ("bf16", "measured", {"data_max": 100.0, "init_max": 1e6}, (100.0, 1e6)),
    ],
)
def test_by_measurement_bf16_has_its_own_range_unless_a_limit_is_given(precision, decide, given, limits):
    config = ConversionConfig(precision=Precision(precision), decide=decide, **given)
    assert (range_limit(config, "data_max"), range_limit(config, "init_max")) == limits


TEXT = "g (float[4] x) => (float[4] y) <float[4] w = {70000, 1, 1, 1}> { a = Mul(x, w) y = Neg(a) }"
RANGES = {"x": (-600.0, 600.0), "a": (-1e6, 1e6), "y": (-1e6, 1e6)}


@pytest.mark.parametrize(("decide", "low"), [("thresholds", 0), ("measured", 2)])
def test_large_tensors_are_no_reason_to_keep_a_node_from_bf16(plan, decide, low):
    assert plan(TEXT, RANGES, precision="bf16", opset=22, decide=decide).counts().low_precision == low


def test_what_bf16_does_not_hold_keeps_its_nodes(plan):
    ranges = {**RANGES, "a": (-3.4e38, 1.0), "y": (-1.0, 3.4e38)}
    found = plan(TEXT, ranges, precision="bf16", opset=22, decide="measured")
    assert {each.rule for each in found.nodes} == {"io_range"}
