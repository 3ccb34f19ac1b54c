import re

import pytest

from autocast_core import name_patterns
from autocast_core.decide.rules.names import IncludeRule, NodeNameRule, OperatorTypeRule
from autocast_core.errors import ConfigError
from autocast_core.name_patterns import NamePattern


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


def test_a_pattern_that_would_match_for_ever_is_refused_after_its_time(monkeypatch):
    monkeypatch.setattr(name_patterns, "SECONDS", 0.2)
    with pytest.raises(
        ConfigError, match=r"'\(a\|aa\)\+\$' takes more than 0\.2 s on .* repetition inside a repetition"
    ):
        NamePattern("(a|aa)+$").matches("a" * 60 + "!")


@pytest.mark.parametrize(
    "pattern", ["", ".*", "^a", "a$", "(?i)A.B", r"/encoder/layer\.\d+/.*", "(?!a)b", "[[]x", "a{,2}b", r"\bfoo", "x|y"]
)
@pytest.mark.parametrize("name", ["", "a", "a.b", "/encoder/layer.11/MatMul", "b", "[x", "aab", "foo bar", "y\n"])
def test_patterns_match_as_pythons_own(pattern, name):
    assert NamePattern(pattern).matches(name) == (re.match(pattern, name) is not None)
