"""The plot of a Pareto front of accuracy against cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def pareto_plot(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Steps from plan to plan, numbered as in the table: `cost` in `unit`, `sqnr_db` of the worst output."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), dpi=120, layout="constrained")
    axes = figure.subplots()
    costs, ratios = [row["cost"] for row in rows], [row["sqnr_db"] for row in rows]
    axes.step(costs, ratios, where="post", color="#2166ac", marker="o", markersize=4)
    for row in rows:
        axes.annotate(str(row["number"]), (row["cost"], row["sqnr_db"]), textcoords="offset points", xytext=(3, 4))
    axes.set_xlabel(f"cost of FP32 ({rows[0]['unit']})")
    axes.set_ylabel("SQNR of the worst output (dB)")
    axes.set_title("Accuracy against cost")
    return figure
