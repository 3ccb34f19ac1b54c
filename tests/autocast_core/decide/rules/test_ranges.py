import math

import numpy as np
import pytest

from autocast_core.calibrate.statistics import TensorStats
from autocast_core.config import Precision
from autocast_core.decide.rules.initializer_range import InitializerRangeRule
from autocast_core.decide.rules.io_range import IORangeRule
from autocast_core.decide.rules.small_values import SmallValuesRule


def stats(low: float, high: float, **more) -> TensorStats:
    return TensorStats(count=10, min=low, max=high, **more)


def test_a_magnitude_at_the_limit_is_allowed_and_one_above_is_not(facts):
    """Limits are strict, as AutoCast's."""
    rule = IORangeRule(512.0)
    assert rule.check(facts(("x", stats(-512.0, 512.0), {}))) is None
    verdict = rule.check(facts(("x", stats(-512.5, 1.0), {})))
    assert verdict.reason == "tensor 'x' reaches 512.5, over data_max 512"
    (evidence,) = verdict.evidence
    assert (evidence.tensor, evidence.min, evidence.max, evidence.absmax, evidence.limit) == (
        "x",
        -512.5,
        1.0,
        512.5,
        512.0,
    )


def test_an_infinite_limit_never_fires(facts):
    assert IORangeRule(math.inf).check(facts(("x", stats(-1e30, 1e30), {}))) is None


def test_elements_that_are_not_finite_keep_the_node(facts):
    verdict = IORangeRule(512.0).check(facts(("x", stats(0.0, 1.0, nonfinite=3), {})))
    assert "3 NaN or infinite elements" in verdict.reason


def test_weights_and_unmeasured_tensors_are_none_of_the_io_rules_business(facts):
    rule = IORangeRule(512.0)
    assert rule.check(facts(("w", stats(-1e6, 1e6), {"is_weight": True}), ("x", None, {}))) is None


@pytest.mark.parametrize(
    ("end", "low", "high", "fires"),
    [
        (-1, -3e4, 8.0, False),
        (-1, -3e4, 600.0, True),
        (-1, -1e5, 8.0, True),
        (-1, -math.inf, 8.0, False),
        (1, -8.0, 3e4, False),
        (1, -600.0, 3e4, True),
    ],
)
def test_of_a_mask_only_the_other_end_counts_while_the_mask_stays_finite(facts, end, low, high, fires):
    found = IORangeRule(512.0).check(facts(("m", stats(low, high), {"mask_end": end})))
    assert (found is not None) == fires


def test_initializers_have_a_limit_of_their_own(facts):
    rule = InitializerRangeRule(65504.0)
    assert rule.check(facts(("w", stats(-65504.0, 1.0), {"is_weight": True}))) is None
    verdict = rule.check(facts(("w", stats(-65505.0, 1.0), {"is_weight": True})))
    assert verdict.reason == "initializer 'w' reaches 65505, over init_max 65504"
    assert rule.check(facts(("x", stats(-1e9, 1.0), {}))) is None


@pytest.mark.parametrize(("low", "fires"), [(-3e4, False), (-1e9, True), (-math.inf, False)])
def test_an_initializer_that_is_a_mask_is_judged_by_what_the_type_holds(facts, low, fires):
    found = InitializerRangeRule(1000.0).check(facts(("w", stats(low, 0.0), {"is_weight": True, "mask_end": -1})))
    assert (found is not None) == fires


def test_rounding_that_costs_more_than_the_limit_keeps_the_node(facts):
    tiny = TensorStats.of(np.full(100, 1.3e-7, np.float32), Precision.FP16)
    verdict = SmallValuesRule().check(facts(("x", tiny, {})))
    assert "relative L2" in verdict.reason
    assert verdict.evidence[0].limit == 2.0**-9


def test_vanishing_elements_keep_the_node_from_one_percent_on(facts):
    for share, fires in ((0.005, False), (0.02, True)):
        values = np.ones(1000, np.float32)
        values[: int(1000 * share)] = 1e-9
        found = SmallValuesRule().check(facts(("x", TensorStats.of(values, Precision.FP16), {})))
        assert (found is not None) == fires


def test_a_normal_weight_matrix_with_small_elements_is_no_small_value(facts):
    weights = np.random.default_rng(0).normal(scale=0.02, size=4096).astype(np.float32)
    assert float(np.abs(weights).min()) < 2.0**-14
    assert SmallValuesRule().check(facts(("w", TensorStats.of(weights, Precision.FP16), {"is_weight": True}))) is None


def test_zeros_are_no_small_values(facts):
    assert SmallValuesRule().check(facts(("x", TensorStats.of(np.zeros(9, np.float32), Precision.FP16), {}))) is None
