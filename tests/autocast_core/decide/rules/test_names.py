import onnx_ir as ir
from autocast_core.decide.rules.earlier import EarlierConversionRule

from autocast_core.decide.rules.names import NodeNameRule, OperatorTypeRule


def test_patterns_match_from_the_start_as_re_match_does(facts):
    assert NodeNameRule(["ad"]).check(facts()).reason == "name 'add' matches 'ad'"
    assert NodeNameRule(["dd"]).check(facts()) is None
    assert NodeNameRule([".*dd$"]).check(facts()) is not None


def test_a_fused_node_answers_to_the_names_it_replaces(facts):
    assert NodeNameRule(["pow"]).check(facts(fused=("pow_1", "sqrt_2"))).reason == "name 'pow_1' matches 'pow'"


def test_operator_types_match_exactly(facts):
    assert OperatorTypeRule(["Add"]).check(facts()).reason == "operator type Add"
    assert OperatorTypeRule(["Ad", "add"]).check(facts()) is None


def test_what_an_earlier_conversion_kept_is_known_by_its_id(facts):
    node = ir.Node("", "Add", [], num_outputs=1, name="a")
    assert EarlierConversionRule(["graph/a"]).check(facts(node=node)) is not None
    assert EarlierConversionRule(["a"]).check(facts(node=node)) is None
