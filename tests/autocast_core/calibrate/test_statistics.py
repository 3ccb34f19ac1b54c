"""TensorStats and Statistics: what they count, and that merging neither cares for order nor for grouping."""

from __future__ import annotations

import json
import math
from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from autocast_core.calibrate import Statistics, TensorStats
from autocast_core.calibrate.statistics import EMPTY
from autocast_core.config import Precision
from autocast_core.errors import DataError

ARRAYS = npst.arrays(np.float32, st.integers(0, 20), elements=st.floats(width=32))
EXACT = ("count", "min", "max", "nonfinite", "nonzero", "underflow", "subnormal", "examined")


def of(array: np.ndarray) -> TensorStats:
    return TensorStats.of(array, Precision.FP16)


def assert_same(left: TensorStats, right: TensorStats) -> None:
    for name in EXACT:
        assert getattr(left, name) == getattr(right, name), name
    assert left.sum_squares == pytest.approx(right.sum_squares, rel=1e-12)
    assert left.rounding_sum_squares == pytest.approx(right.rounding_sum_squares, rel=1e-12)


def test_range_leaves_out_nan_and_counts_what_is_not_finite() -> None:
    stats = of(np.array([np.nan, -3.0, np.inf, 2.0], np.float32))
    assert (stats.count, stats.min, stats.max, stats.nonfinite) == (4, -3.0, math.inf, 2)
    assert stats.absmax == math.inf


def test_nothing_but_nan_has_no_magnitude() -> None:
    stats = of(np.array([np.nan], np.float32))
    assert (stats.min, stats.max, stats.absmax, stats.nonfinite) == (math.inf, -math.inf, 0.0, 1)


def test_small_values_are_counted_as_binary16_treats_them() -> None:
    # 2^-25 is a tie and goes to the even zero; 2^-24 is the smallest subnormal; 2^-14 the smallest normal number.
    stats = of(np.array([0.0, 2.0**-25, -(2.0**-24), 2.0**-15, 2.0**-14, 1.0], np.float32))
    assert (stats.nonzero, stats.underflow, stats.subnormal) == (5, 1, 3)
    assert stats.underflow_share == 0.2


def test_rounding_error_is_the_relative_l2_of_rounding() -> None:
    values = np.array([1.0001, -3e-8, 5.0], np.float32)
    lost = values.astype(np.float64) - values.astype(np.float16).astype(np.float64)
    assert of(values).rounding_error == pytest.approx(np.linalg.norm(lost) / np.linalg.norm(values.astype(np.float64)))


def test_values_beyond_the_range_are_left_to_the_range_rules() -> None:
    stats = of(np.array([1e6, 1.0, np.inf], np.float32))
    assert (stats.nonzero, stats.sum_squares, stats.rounding_error) == (1, 1.0, 0.0)


def test_without_a_measured_rounding_the_counts_bound_it() -> None:
    measured = of(np.array([2.0**-16 * 1.37, 1e-3, 0.3], np.float32))
    counted = TensorStats(**{**measured.__dict__, "rounding_sum_squares": None, "sum_squares": None})
    assert measured.rounding_error <= counted.rounding_error <= 2.0**-10


def test_bf16_has_no_small_values() -> None:
    stats = TensorStats.of(np.array([1e-30], np.float32), Precision.BF16)
    assert (stats.underflow, stats.rounding_error, stats.underflow_share) == (None, None, None)


def test_a_sample_cannot_hide_the_norm() -> None:
    stats = TensorStats(
        count=10**6, min=0.0, max=100.0, nonzero=10, underflow=0, subnormal=10, sum_squares=1e-12,
        rounding_sum_squares=1e-14, examined=4096,
    )  # fmt: skip
    assert stats.rounding_error < 1e-7


@given(ARRAYS, ARRAYS, ARRAYS)
def test_merging_is_associative(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    assert_same(of(a).merge(of(b)).merge(of(c)), of(a).merge(of(b).merge(of(c))))


@given(ARRAYS, ARRAYS)
def test_merging_is_commutative_and_the_same_as_seeing_all_at_once(a: np.ndarray, b: np.ndarray) -> None:
    assert_same(of(a).merge(of(b)), of(b).merge(of(a)))
    assert_same(of(a).merge(of(b)), of(np.concatenate([a, b])))


def shard(name: str, values: list[float], digest: str) -> Statistics:
    return Statistics({name: of(np.array(values, np.float32))}, 1, "calibration", digest, "onnxruntime-cpu")


def test_shards_merge_in_any_order() -> None:
    shards = [shard("a", [1.0, 2.0], "d1"), shard("a", [-4.0], "d2"), shard("b", [0.5], "d3")]
    forward = shards[0].merge(shards[1]).merge(shards[2])
    backward = shards[2].merge(shards[1].merge(shards[0]))
    assert dict(forward.tensors) == dict(backward.tensors)
    assert (forward.batches, forward.digest) == (backward.batches, backward.digest) == (3, "d1+d2+d3")
    assert forward.tensors["a"].min == -4.0


def test_statistics_survive_json_without_nan_or_infinity() -> None:
    statistics = shard("a", [math.inf, -1.0, math.nan], "d").merge(Statistics(skipped="no data"))
    text = statistics.to_json()
    json.loads(text, parse_constant=lambda constant: pytest.fail(constant))
    assert Statistics.from_json(text) == statistics


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"tensors": {"a": {"x": 1}}}', '{"tensors": 3}'])
def test_other_text_is_no_statistics(text: str) -> None:
    with pytest.raises(DataError, match="calibrate again"):
        Statistics.from_json(text)


def test_the_estimated_extreme_is_gumbels_for_a_hundred_times_as_many_batches():
    """m + s·√6/π·ln(100·n), for batches whose largest magnitudes are 1, 2, 3 and 4: m = 2.5, s = √(5/3)."""
    batches = [TensorStats(count=2, min=-top, max=0.5).as_batch() for top in (1.0, 2.0, 3.0, 4.0)]
    found = reduce(TensorStats.merge, batches, EMPTY)
    assert found.batches == 4
    assert found.estimated_absmax == pytest.approx(2.5 + math.sqrt(10.0) / math.pi * math.log(400.0))
    assert reduce(TensorStats.merge, batches[:3], EMPTY).estimated_absmax is None


def test_equal_batches_are_expected_to_stay_equal():
    batch = TensorStats(count=2, min=-3.0, max=1.0).as_batch()
    assert reduce(TensorStats.merge, [batch] * 9, EMPTY).estimated_absmax == pytest.approx(3.0)


def test_the_estimate_of_normal_samples_is_near_what_more_of_them_show():
    rng = np.random.default_rng(0)
    batches = [TensorStats.of(rng.standard_normal(1024), Precision.FP16).as_batch() for _ in range(16)]
    found = reduce(TensorStats.merge, batches, EMPTY)
    beyond = np.abs(rng.standard_normal((100, 16, 1024))).max()
    assert found.absmax <= found.estimated_absmax
    assert found.estimated_absmax == pytest.approx(beyond, rel=0.25)


def test_a_batch_that_is_not_finite_has_no_extreme():
    assert TensorStats(count=2, min=-1.0, max=1.0, nonfinite=1).as_batch().batches is None


def test_extremes_of_batches_survive_a_file():
    batch = TensorStats(count=2, min=-3.0, max=1.0).as_batch()
    found = Statistics.from_json(Statistics({"x": batch}).to_json()).tensors["x"]
    assert (found.batches, found.extreme_sum, found.extreme_squares) == (1, 3.0, 9.0)


def test_statistics_times_a_factor_estimate_the_extreme_times_it():
    batches = [TensorStats(count=2, min=-top, max=0.5).as_batch() for top in (1.0, 2.0, 3.0, 4.0)]
    found = reduce(TensorStats.merge, batches, EMPTY)
    assert found.times(2.0**-6).estimated_absmax == pytest.approx(found.estimated_absmax * 2.0**-6)
