import onnx_ir as ir

from autocast_core.decide.rules.earlier_conversion import EarlierConversionRule


def test_what_an_earlier_conversion_kept_is_known_by_its_id(facts):
    node = ir.Node("", "Add", [], num_outputs=1, name="a")
    assert EarlierConversionRule(["graph/a"]).check(facts(node=node)) is not None
    assert EarlierConversionRule(["a"]).check(facts(node=node)) is None
