from autocast_core.decide.rules.names import IncludeRule, NodeNameRule, OperatorTypeRule


def test_patterns_match_from_the_start_as_re_match_does(facts):
    assert NodeNameRule(["ad"]).check(facts()).reason == "name 'add' matches 'ad'"
    assert NodeNameRule(["dd"]).check(facts()) is None
    assert NodeNameRule([".*dd$"]).check(facts()) is not None


def test_a_fused_node_answers_to_the_names_it_replaces(facts):
    assert NodeNameRule(["pow"]).check(facts(fused=("pow_1", "sqrt_2"))).reason == "name 'pow_1' matches 'pow'"


def test_operator_types_match_exactly(facts):
    assert OperatorTypeRule(["Add"]).check(facts()).reason == "operator type Add"
    assert OperatorTypeRule(["Ad", "add"]).check(facts()) is None


def test_an_include_by_name_comes_before_one_by_operator_type(facts):
    assert IncludeRule(["ad"], ["Add"]).check(facts()).reason == "name 'add' matches 'ad'"
    assert IncludeRule(["x"], ["Add"]).check(facts()).reason == "operator type Add"
    assert IncludeRule(["x"], []).check(facts()) is None
