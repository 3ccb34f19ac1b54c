import onnx
import pytest

from autocast_core.decide import NodeRuleBase
from tests.autocast_core.decide.keep_exponentials import KeepExponentials

CHAIN = "g (float[2] x) => (float[2] y) { [first] a = Exp(x) [second] y = Neg(a) }"


class KeepNegations(NodeRuleBase):
    def _check_inner(self, node):
        assert isinstance(node, onnx.NodeProto)
        return node.op_type == "Neg"


def decided(plan, node: str) -> tuple[str, str]:
    decision = plan.by_id()[f"graph/{node}"]
    return decision.rule, decision.reason


def test_a_rule_of_our_kind_is_recorded_under_its_own_name(plan):
    found = plan(CHAIN, custom_rule=KeepExponentials())
    assert decided(found, "first") == ("no_exponentials", "it is an Exp")
    assert decided(found, "second") == ("default", "")


def test_a_rule_of_autocasts_kind_is_recorded_as_custom(plan):
    found = plan(CHAIN, custom_rule=KeepNegations())
    assert decided(found, "first") == ("default", "")
    assert decided(found, "second") == ("custom", "custom rule KeepNegations keeps it")


def test_every_rule_that_no_release_overrides_comes_before_it(plan):
    found = plan(CHAIN, {"x": (0, 1), "a": (0, 1), "y": (-60000, 0)}, custom_rule=KeepNegations(), headroom=8.0)
    assert decided(found, "second")[0] == "headroom"


def test_a_limit_that_a_release_may_override_comes_after_it(plan):
    found = plan(CHAIN, {"x": (0, 1), "a": (0, 1), "y": (-600, 0)}, custom_rule=KeepNegations())
    assert decided(found, "second")[0] == "custom"


def test_a_custom_rule_must_define_its_check():
    with pytest.raises(NotImplementedError, match="_check_inner"):
        NodeRuleBase().check(onnx.NodeProto())
