"""architecture.md names every room."""

import pytest

from tests.infra.docs.pages import DOCS, ROOT

TOPS = ("autocast_core", "tasks", "flows")
ROOMS = sorted(path.parent.name for top in TOPS for path in (ROOT / top).glob("*/__init__.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_on_the_page(room):
    assert f"`{room}/`" in (DOCS / "architecture.md").read_text(encoding="utf-8")
