"""settings.md names every environment variable of this project that the code reads."""

import re

from tests.infra.docs.pages import DOCS, ROOT

VARIABLE = re.compile(r"[\"']?\b(AUTOCAST_[A-Z]+(?:_[A-Z]+)*)\b")


def test_every_variable_of_the_code_is_on_the_page():
    read = {
        name
        for room in ("autocast_core", "tasks", "flows")
        for path in (ROOT / room).rglob("*.py")
        for name in VARIABLE.findall(path.read_text(encoding="utf-8"))
    }
    page = (DOCS / "settings.md").read_text(encoding="utf-8")
    assert {name for name in read if f"`{name}`" not in page} == set()
