import math

import pytest

from autocast_core.calibrate.statistics import TensorStats
from autocast_core.decide.rules.numeric.io_range import IORangeRule


def stats(low: float, high: float, **more) -> TensorStats:
    return TensorStats(count=10, min=low, max=high, **more)


def test_a_magnitude_at_the_limit_is_allowed_and_one_above_is_not(facts):
    """Limits are strict, as in AutoCast."""
    rule = IORangeRule(512.0)
    assert rule.check(facts(("x", stats(-512.0, 512.0), {}))) is None
    match = rule.check(facts(("x", stats(-512.5, 1.0), {})))
    assert match.reason == "tensor 'x' reaches 512.5, over data_max 512"
    (evidence,) = match.evidence
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
    match = IORangeRule(512.0).check(facts(("x", stats(0.0, 1.0, nonfinite=3), {})))
    assert "3 NaN or infinite elements" in match.reason


def test_weights_and_unmeasured_tensors_do_not_keep_the_node(facts):
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
