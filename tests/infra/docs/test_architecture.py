"""architecture.md names every room and every stage."""

import re

import pytest

from tests.infra.docs.pages import DOCS, ROOT

TOPS = ("autocast_core", "tasks", "flows")
ROOMS = sorted(path.parent.name for top in TOPS for path in (ROOT / top).glob("*/__init__.py"))
PAGE = (DOCS / "architecture.md").read_text(encoding="utf-8")
STAGES = sorted(
    name
    for path in (ROOT / "autocast_core" / "pipeline" / "stages").rglob("*.py")
    for name in re.findall(r'\bStage\("(\w+)"', path.read_text(encoding="utf-8"))
)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_on_the_page(room):
    assert f"`{room}/`" in PAGE


def test_the_table_of_stages_has_every_stage():
    assert STAGES
    assert sorted(re.findall(r"^\| (\w+) \|.*`\w+/", PAGE, re.MULTILINE)) == STAGES
