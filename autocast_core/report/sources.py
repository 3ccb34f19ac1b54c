"""Which nodes the error at the outputs comes from, for the reports."""

from __future__ import annotations

from typing import Any

from autocast_core.plan import NodeError
from autocast_core.report.content import ReportInput

COLUMNS = ("id", "op_type", "share", "local", "overflow", "underflow")
_LEAST = 1e-4
"""A share of the error that is not worth a line."""


def error_sources(report: ReportInput, limit: int | None = None) -> tuple[NodeError, ...]:
    """The nodes with at least a ten-thousandth of the error, by falling share; at most `limit`."""
    if report.attribution is None:
        return ()
    return tuple(node for node in report.attribution.nodes if node.share >= _LEAST)[:limit]


def attribution_table(report: ReportInput) -> dict[str, list[Any]]:
    """Column name to its cells, one row per lowered node, by falling share; no rows where nothing was measured."""
    rows = [node.to_json() for node in report.attribution.nodes] if report.attribution else []
    return {column: [row[column] for row in rows] for column in COLUMNS}
