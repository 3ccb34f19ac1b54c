"""Captions, tables and plots as one fragment of HTML that needs no style sheet, script or network."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING

from autocast_core.text import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LONGEST = 300
"""Characters of a cell."""


@dataclass(frozen=True)
class Caption:
    """One line of text."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows under their headings, `limit` of them at most; nothing is shown where there are none."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    limit: int | None = None


@dataclass(frozen=True)
class Plot:
    """A drawing, with what it shows for those who do not see it."""

    title: str
    figure: Figure


Part = Caption | Table | Plot


def fragment(parts: tuple[Part, ...]) -> str:
    """All parts below one another. Texts are escaped: they may hold names from anyone's files."""
    return "<div>" + "".join(map(_html, parts)) + "</div>"


def _html(part: Part) -> str:
    match part:
        case Caption(text):
            return f"<p>{_text(text)}</p>"
        case Plot(title, figure):
            return f'<img alt="{_text(title)}" style="max-width:100%" src="data:image/png;base64,{_png(figure)}">'
        case Table():
            return _table(part)


def _table(table: Table) -> str:
    if not table.rows:
        return ""
    head = "".join(f'<th scope="col" style="text-align:left">{_text(each)}</th>' for each in table.headings)
    rows = table.rows[: table.limit]
    body = "".join(
        "<tr>" + "".join(f'<td style="text-align:left">{_text(cell)}</td>' for cell in row) + "</tr>" for row in rows
    )
    more = f" ({len(rows)} of {len(table.rows):,})" if len(rows) < len(table.rows) else ""
    caption = f'<caption style="text-align:left">{_text(table.title)}{more}</caption>'
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _text(text: str) -> str:
    # Dollar signs would start a formula in a notebook.
    return escape(visible(text, _LONGEST)).replace("$", "&#36;")


def _png(figure: Figure) -> str:
    stream = BytesIO()
    figure.savefig(stream, format="png")
    return b64encode(stream.getvalue()).decode()
