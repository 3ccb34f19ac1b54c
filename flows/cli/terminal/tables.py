"""Tables for the terminal, with the report's words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], limit: int | None = None) -> None:
    """A table of at most `limit` rows, whose cells are text whatever they hold; nothing where there are no rows."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from autocast_core.text import visible

    if not rows:
        return
    drawn = Table(*columns, title=title, title_justify="left")
    for row in rows[:limit]:
        drawn.add_row(*(Text(visible(cell, 300)) for cell in row))
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
    """Quantity, before, after: as far as `metrics` have them, in the order of the report."""
    return list(_changes(metrics))


def _changes(metrics: Mapping[str, float]) -> Iterator[tuple[str, ...]]:
    from autocast_core.report.text import number, size

    if "model.bytes_before" in metrics:
        before, after = int(metrics["model.bytes_before"]), int(metrics["model.bytes_after"])
        share = f" ({after / before:.0%})" if before else ""
        yield "Size", size(before), f"{size(after)}{share}"
    if "nodes.low_precision" in metrics:
        low, fp32 = (int(metrics[f"nodes.{name}"]) for name in ("low_precision", "fp32"))
        share = f" ({metrics['nodes.low_precision_share']:.2%})"
        yield "Nodes in low precision", "0", f"{low:,} of {low + fp32:,}{share}"
    if "casts.inserted" in metrics:
        yield "Casts inserted", "–", number(metrics["casts.inserted"])
    if "fidelity.worst.rel_l2" in metrics:
        error, ratio = (number(metrics[f"fidelity.worst.{name}"]) for name in ("rel_l2", "sqnr_db"))
        yield "Worst output: relative L2 error, SQNR (simulation)", "exact", f"{error}, {ratio} dB"
    for name in sorted(metrics):
        reference = f"{name}_fp32"
        if name.startswith("task.") and reference in metrics:
            yield f"Task: {name.removeprefix('task.')}", number(metrics[reference]), number(metrics[name])
