import numpy as np
import pytest

from autocast_core.calibrate.statistics import TensorStats
from autocast_core.config import ConversionConfig, Precision
from autocast_core.decide.rules.numeric.small_values import SMALL_VALUES, SmallValuesRule


def test_rounding_that_costs_more_than_the_limit_keeps_the_node(facts):
    tiny = TensorStats.of(np.full(100, 1.3e-7, np.float32), Precision.FP16)
    match = SmallValuesRule().check(facts(("x", tiny, {})))
    assert "relative L2" in match.reason
    assert match.evidence[0].limit == 2.0**-9


def test_vanishing_elements_keep_the_node_from_one_percent_on(facts):
    for share, fires in ((0.005, False), (0.02, True)):
        values = np.ones(1000, np.float32)
        values[: int(1000 * share)] = 1e-9
        found = SmallValuesRule().check(facts(("x", TensorStats.of(values, Precision.FP16), {})))
        assert (found is not None) == fires


def test_small_elements_in_a_normal_weight_matrix_do_not_keep_the_node(facts):
    weights = np.random.default_rng(0).normal(scale=0.02, size=4096).astype(np.float32)
    assert float(np.abs(weights).min()) < 2.0**-14
    assert SmallValuesRule().check(facts(("w", TensorStats.of(weights, Precision.FP16), {"is_weight": True}))) is None


def test_zeros_do_not_count_as_vanishing_elements(facts):
    assert SmallValuesRule().check(facts(("x", TensorStats.of(np.zeros(9, np.float32), Precision.FP16), {}))) is None


@pytest.mark.parametrize(
    ("options", "runs"),
    [({}, True), ({"small_values": False}, False), ({"precision": Precision.BF16}, False)],
    ids=["by default", "switched off", "for BF16"],
)
def test_it_runs_for_fp16_unless_switched_off(model, options, runs):
    loaded = model("g (float[2] x) => (float[2] y) { y = Neg(x) }")
    assert (SMALL_VALUES.build(loaded, ConversionConfig(**options)) is not None) == runs
