"""Tables of the documentation that are made from the code are those that the code makes."""

import runpy

import pytest

from tests.infra.docs.pages import DOCS

MAKER = runpy.run_path(str(DOCS / "tables.py"))


@pytest.mark.parametrize("name", MAKER["TABLES"])
def test_a_table_is_in_a_page(name):
    table = f"<!-- table {name} -->\n\n{MAKER['TABLES'][name]()}\n<!-- end of table -->"
    assert any(table in page.read_text(encoding="utf-8") for page in DOCS.glob("*.md"))


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_the_tables_of_a_page_are_up_to_date(page):
    text = page.read_text(encoding="utf-8")
    assert MAKER["with_tables"](text) == text, "run: uv run python infra/docs/tables.py"
