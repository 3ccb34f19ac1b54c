"""Tables for the terminal, worded as the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], limit: int | None = None) -> None:
    """Prints a table of at most `limit` rows, cells as plain text; nothing where there are no rows."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from autocast_core.text import visible

    if not rows:
        return
    drawn = Table(*columns, title=title, title_justify="left")
    for row in rows[:limit]:
        drawn.add_row(*(Text(visible(cell, 300), overflow="fold") for cell in row))
    console = Console()
    console.print(drawn)
    if limit is not None and len(rows) > limit:
        console.print(f"… and {len(rows) - limit:,} more: --json has them")


def gate_rows(gates: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Gate, measured, result, why."""
    from autocast_core.report.text import number

    return [
        (gate["expression"], number(gate["value"]), "passed" if gate["passed"] else "failed", gate["reason"])
        for gate in gates
    ]


def change_rows(metrics: Mapping[str, float]) -> list[tuple[str, ...]]:
    """Quantity, before, after, what measured it: as far as `metrics` have them, in the order of the report."""
    from autocast_core.report.before_after import changes, plain

    return [
        (change.quantity, plain(change.before), plain(change.after), change.backend)
        for change in changes(metrics, "low precision", {"fidelity": "simulation"})
    ]
