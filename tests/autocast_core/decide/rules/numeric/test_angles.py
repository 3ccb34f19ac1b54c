from autocast_core.calibrate.statistics import TensorStats
from autocast_core.decide.rules.numeric.angles import AnglesRule

SMALL = TensorStats(count=3, min=-1.0, max=1.0)


def test_angles_that_grow_are_kept_however_small_they_were(facts):
    found = AnglesRule().check(facts(("a", SMALL, {"is_angle": True, "is_position": True})))
    assert found.reason == "angle 'a' is computed from integers, which grow with the sequence"
    found = AnglesRule().check(facts(("a", SMALL, {"is_angle": True})))
    assert found.reason == "angle 'a' is part of a running sum, which grows with the sequence"
    assert AnglesRule().check(facts(("a", None, {"is_angle": True}))) is not None


def test_other_numbers_and_positions_without_a_sine_are_not(facts):
    assert AnglesRule().check(facts(("a", SMALL, {}), ("b", SMALL, {"is_position": True}))) is None
