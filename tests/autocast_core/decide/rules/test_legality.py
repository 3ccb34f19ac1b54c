import pytest

from autocast_core.config import Precision
from autocast_core.decide.rules.legality import ALREADY_LOW, LEGALITY, NO_FLOAT, PLUGIN_PRECISION
from autocast_core.operators import Operands

ENTRIES = (NO_FLOAT, ALREADY_LOW, PLUGIN_PRECISION, LEGALITY)
CASES = {
    "no float": (Operands((), (), is_float=False), NO_FLOAT, Precision.NONE, "touches no float tensor"),
    "already low": (
        Operands((), (), is_float=True, current=Precision.BF16),
        ALREADY_LOW,
        Precision.BF16,
        "has 16-bit types in the source model",
    ),
    "plugin in FP16": (
        Operands((), (), is_float=True, demanded=Precision.FP16),
        PLUGIN_PRECISION,
        Precision.FP16,
        "trt_plugins_precision demands it",
    ),
    "plugin in FP32": (
        Operands((), (), is_float=True, demanded=Precision.FP32),
        PLUGIN_PRECISION,
        Precision.FP32,
        "trt_plugins_precision demands it",
    ),
    "refused": (Operands((), (), is_float=True, refusal="no form"), LEGALITY, Precision.FP32, "no form"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_operands_alone_settle_the_precision(facts, case):
    operands, entry, precision, reason = CASES[case]
    found = facts()._replace(operands=operands)
    applying = [each for each in ENTRIES if each.build(None, None).check(found)]
    assert applying == [entry]
    assert entry.precision_of(found) == precision
    assert entry.build(None, None).check(found).reason == reason


def test_a_node_that_may_be_low_is_open_to_the_other_rules(facts):
    assert not any(each.build(None, None).check(facts()) for each in ENTRIES)


def test_a_precision_that_no_operand_declares_is_an_error(facts):
    with pytest.raises(ValueError, match="'already_low' does not say the precision of graph/add"):
        ALREADY_LOW.precision_of(facts())
