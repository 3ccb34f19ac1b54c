import math

import pytest

from autocast_core.calibrate.statistics import TensorStats
from autocast_core.decide.rules.numeric.initializer_range import InitializerRangeRule


def stats(low: float, high: float, **more) -> TensorStats:
    return TensorStats(count=10, min=low, max=high, **more)


def test_initializers_have_a_limit_of_their_own(facts):
    rule = InitializerRangeRule(65504.0)
    assert rule.check(facts(("w", stats(-65504.0, 1.0), {"is_weight": True}))) is None
    match = rule.check(facts(("w", stats(-65505.0, 1.0), {"is_weight": True})))
    assert match.reason == "initializer 'w' reaches 65505, over init_max 65504"
    assert rule.check(facts(("x", stats(-1e9, 1.0), {}))) is None


@pytest.mark.parametrize(("low", "fires"), [(-3e4, False), (-1e9, True), (-math.inf, False)])
def test_an_initializer_that_is_a_mask_is_judged_by_what_the_type_holds(facts, low, fires):
    found = InitializerRangeRule(1000.0).check(facts(("w", stats(low, 0.0), {"is_weight": True, "mask_end": -1})))
    assert (found is not None) == fires
