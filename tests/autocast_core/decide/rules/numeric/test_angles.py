from autocast_core.calibrate.statistics import TensorStats
from autocast_core.decide.rules.numeric.angles import AnglesRule


def test_large_angles_and_those_of_positions_are_kept(facts):
    small, large = TensorStats(count=3, min=-16.0, max=16.0), TensorStats(count=3, min=-16.5, max=1.0)
    assert AnglesRule().check(facts(("a", small, {"is_angle": True}))) is None
    assert "16.5 radians" in AnglesRule().check(facts(("a", large, {"is_angle": True}))).reason
    assert AnglesRule().check(facts(("a", large, {}))) is None
    assert AnglesRule().check(facts(("a", None, {"is_angle": True, "is_position": True}))) is not None
