from autocast_core.decide.rules.numeric.shape_arithmetic import ShapeArithmeticRule


def test_nodes_that_make_sizes_are_kept(facts):
    assert ShapeArithmeticRule().check(facts()) is None
    assert "sizes or indices" in ShapeArithmeticRule().check(facts(makes_sizes=True)).reason
