"""Every code of the linter has its page, which shows an example that the linter finds."""

from __future__ import annotations

import re

import pytest

from autocast_core.lint.checks import CHECKS
from tests.autocast_core.lint.planted import PLANTED, nodes_of
from tests.infra.docs.pages import DOCS, blocks

CODES = [check.code for check in CHECKS]


def test_codes_are_unique_and_in_order():
    assert sorted(set(CODES)) == CODES
    assert all(re.fullmatch(r"AC[1-9]\d\d", code) for code in CODES)


def test_there_is_a_page_for_each_code_and_no_other():
    assert sorted(path.stem for path in (DOCS / "lint").iterdir()) == CODES


@pytest.mark.parametrize("check", CHECKS, ids=CODES)
def test_a_page_says_what_why_and_the_remedy(check):
    text = (DOCS / "lint" / f"{check.code}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {check.code}: {check.title}\n\nLevel: {check.level.word}.")
    assert all(part in text for part in ("**What:**", "**Why:**", "**Remedy:**"))
    assert ("`--reference`" in text) == check.needs_reference


@pytest.mark.parametrize("code", [check.code for check in CHECKS if not check.needs_reference])
def test_the_example_of_a_page_is_a_planted_defect(code):
    (example,) = blocks(DOCS / "lint" / f"{code}.md")
    planted = [nodes_of(each.nodes).split() for each in PLANTED.values() if each.code == code]
    assert example.text.split() in planted
