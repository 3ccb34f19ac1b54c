"""What a plan warns of before anything is measured: NaN, infinity, clamped weights, nothing lowered."""

from dataclasses import replace

import numpy as np
import pytest

from autocast_core.calibrate import Statistics
from autocast_core.calibrate.statistics import TensorStats
from autocast_core.config import Precision
from autocast_core.decide.ranges.nonfinite import nonfinite_activations

MUL = "g (float[2] x) => (float[2] y) <float[2] w = {WEIGHT}> { [n] y = Mul(x, w) }"
MASKED = """g (float[1,2] x) => (float[1,2] y) <float[1,2] mask = {0, -inf}> {
  [a] a = Add(x, mask) [s] y = Softmax(a) }"""


@pytest.mark.parametrize(
    ("values", "count"), [("1, nan", 1), ("inf, 1", 1), ("-inf, nan", 2)], ids=["nan", "infinity", "both"]
)
def test_a_weight_that_is_not_finite_is_counted_and_warned_of(plan, values, count):
    found = plan(MUL.replace("WEIGHT", values))
    assert [(each.tensor, each.nonfinite) for each in found.weights] == [("w", count)]
    assert f"weight 'w' holds {count} NaN or infinite values" in found.warnings


def test_nothing_is_written_of_finite_weights(plan):
    found = plan(MUL.replace("WEIGHT", "1, 2"))
    assert found.nonfinite_weights() is None and "nonfinite" not in found.to_json()


def test_infinity_that_masks_before_a_softmax_is_meant(plan):
    assert plan(MASKED).nonfinite_weights() is None


@pytest.mark.parametrize(("value", "meant"), [("-inf", True), ("inf", True), ("nan", False)])
def test_one_infinite_number_is_a_constant_and_one_nan_is_not(plan, value, meant):
    found = plan(f"g (float[2] x) => (float[2] y) <float start = {{{value}}}> {{ [n] y = Max(x, start) }}")
    assert (found.nonfinite_weights() is None) == meant


def test_a_weight_kept_in_fp32_is_counted_too(plan):
    found = plan(MUL.replace("WEIGHT", "1, nan"), nodes_to_exclude=("n",))
    assert found.nonfinite_weights() == "weight 'w' holds 1 NaN or infinite values"
    assert found.warnings[0].startswith("nothing was converted: every float node (1) stays in FP32")


def test_a_weight_that_is_clamped_is_warned_of(plan):
    found = plan(MUL.replace("WEIGHT", "1, 1e6"), init_max=float("inf"))
    assert "weight 'w' has 1 elements beyond ±65504, which become that" in found.warnings


def test_nothing_to_convert_is_said(plan):
    found = plan("g (int64[2] x) => (int64[2] y) { [n] y = Add(x, x) }")
    assert found.warnings == ("nothing was converted: no node computes with floats",)


def seen(*names, values=(1.0, np.nan)):
    stats = TensorStats.of(np.array(values, np.float32), Precision.FP16)
    return Statistics(dict.fromkeys(names, stats))


def test_data_that_is_not_finite_is_one_line_and_masks_are_none(model):
    plain = model(MUL.replace("WEIGHT", "1, 2"))
    assert nonfinite_activations(plain, seen()) is None
    for value in (np.nan, np.inf):
        line = "in calibration input 'x' holds 1 NaN or infinite values"
        assert nonfinite_activations(plain, seen("y", "x", values=(1.0, value))) == line
    fed = model("g (float[1,2] x, float[1,2] m) => (float[1,2] y) { [a] a = Add(x, m) [s] y = Softmax(a) }")
    assert nonfinite_activations(fed, seen("m", "a", values=(0.0, -np.inf))) is None


def test_where_the_data_is_not_finite_is_named_as_far_as_it_is_of_that_input(model):
    plain = model(MUL.replace("WEIGHT", "1, 2"))
    where = "d.npz, batch 4: input 'x' holds 1 NaN or infinite values, the first at [0, 2]"
    assert nonfinite_activations(plain, replace(seen("x"), first_nonfinite=where)) == f"in calibration, {where}"
    other = replace(seen("x"), first_nonfinite=where.replace("'x'", "'m'"))
    assert nonfinite_activations(plain, other) == "in calibration input 'x' holds 1 NaN or infinite values"


def test_nan_in_activations_is_one_line_in_the_order_of_the_graph_and_infinity_is_meant(model):
    chain = model("g (float[2] x) => (float[2] b) { [m] z = Neg(x) [n] b = Exp(z) }")
    line = "in calibration tensor 'z' holds 1 NaN values, as do 1 more"
    assert nonfinite_activations(chain, seen("b", "z")) == nonfinite_activations(chain, seen("z", "b")) == line
    assert nonfinite_activations(chain, seen("z", values=(1.0, -np.inf))) is None
    assert nonfinite_activations(chain, seen("z", values=(np.nan, np.nan))) is not None
