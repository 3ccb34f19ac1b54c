"""Writes the tables of these pages that are made from the code: `uv run python infra/docs/tables.py`.

A table stands between two comments that name it.
"""

from __future__ import annotations

import re
from pathlib import Path

from autocast_core.decide.rules import rules_table

TABLES = {"rules": rules_table}
BLOCK = re.compile(r"(<!-- table (\w+) -->\n\n).*?(\n<!-- end of table -->)", re.DOTALL)


def with_tables(text: str) -> str:
    """`text` with the content of every such table made anew. KeyError for a name that is not in TABLES."""
    return BLOCK.sub(lambda match: match[1] + TABLES[match[2]]() + match[3], text)


if __name__ == "__main__":
    for page in sorted(Path(__file__).parent.glob("*.md")):
        before = page.read_text(encoding="utf-8")
        after = with_tables(before)
        if after != before:
            page.write_text(after, encoding="utf-8")
            print(f"wrote {page.name}")
