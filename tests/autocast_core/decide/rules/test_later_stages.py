import pytest

from autocast_core.decide.rules.later_stages import SEARCH, TARGET


@pytest.mark.parametrize("entry", [SEARCH, TARGET], ids=["search", "target"])
def test_deciding_runs_no_rule_of_a_later_stage(entry, facts):
    assert entry.build is None and entry.groups is None
    with pytest.raises(ValueError, match=f"'{entry.name}' does not say the precision of graph/add"):
        entry.precision_of(facts())
