"""rules.md holds the registry's table of rules."""

from autocast_core.decide.rules import rules_table
from tests.infra.docs.pages import DOCS


def test_the_page_holds_the_registry_as_it_is():
    assert rules_table() in (DOCS / "rules.md").read_text(encoding="utf-8"), "put rules_table() into rules.md"
