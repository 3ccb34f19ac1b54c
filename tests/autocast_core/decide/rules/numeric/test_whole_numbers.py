import pytest

from autocast_core.calibrate.statistics import TensorStats
from autocast_core.decide.rules.numeric.whole_numbers import WholeNumbersRule


@pytest.mark.parametrize(("precision", "limit"), [("fp16", 2048.0), ("bf16", 256.0)])
def test_whole_numbers_are_kept_beyond_what_is_exact(facts, precision, limit):
    for largest, fires in ((limit, False), (limit + 1, True)):
        tensor = ("p", TensorStats(count=3, min=0.0, max=largest), {"is_whole": True})
        found = WholeNumbersRule().check(facts(tensor, precision=precision))
        assert (found is not None) == fires
    assert found.evidence[0].limit == limit
    assert f"exact up to {limit:g}" in found.reason


def test_other_numbers_may_be_as_large(facts):
    assert WholeNumbersRule().check(facts(("x", TensorStats(count=3, min=0.0, max=1e4), {}))) is None
