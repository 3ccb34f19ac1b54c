"""Node data for Model Explorer: precision, share of the error and largest magnitude of each node, as overlays.

The form is that of custom node data (github.com/google-ai-edge/model-explorer): one object by graph id, which for ONNX
is the graph's name, for a body the names of its node and attribute. A graph without a name gets none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from autocast_core.graph.walk import ROOT
from autocast_core.plan import NodeDecision
from autocast_core.report.content import ReportInput
from autocast_core.report.network import NodeWiring

_LOW, _FP32, _NONE = "#cfe3f5", "#f9d3a5", "#e3e6ea"
_SHARES = [{"stop": 0, "bgColor": "#ffffff"}, {"stop": 1, "bgColor": "#d62728"}]
_MAGNITUDES = [
    {"value": 2.0**-14, "bgColor": "#d9dff5"},
    {"value": 4096, "bgColor": "#d3ecd8"},
    {"value": 65504, "bgColor": "#fbdba0"},
    {"value": 1e39, "bgColor": "#ef9a9a"},
]
"""Up to FP16's smallest normal number, a sixteenth of its largest, its largest (IEEE 754 binary16), beyond."""

Result = dict[str, Any]


def node_data(report: ReportInput) -> dict[str, str]:
    """JSON texts by file stem: ``precision``, and ``error`` and ``range`` where they were measured. Empty where the
    network is not known or its graph has no name."""
    network = report.network
    if not network.name or not network.nodes:
        return {}
    shares = {node.id: node.share for node in report.attribution.nodes} if report.attribution else {}
    decisions = {decision.id: decision for decision in report.plan.nodes}
    files = {
        "precision": _by_graph(report, "precision", {}, lambda node: _precision(decisions.get(node.id))),
        "error": _by_graph(
            report, "share of the error", {"gradient": _SHARES}, lambda node: _value(shares.get(node.id))
        ),
        "range": _by_graph(
            report, "largest magnitude", {"thresholds": _MAGNITUDES}, lambda node: _value(_magnitude(report, node))
        ),
    }
    return {stem: json.dumps(graphs) for stem, graphs in files.items() if graphs}


def _by_graph(
    report: ReportInput, name: str, colours: Mapping[str, Any], result: Callable[[NodeWiring], Result | None]
) -> dict[str, Any]:
    graphs: dict[str, Any] = {}
    for graph, node in _placed(report):
        found = result(node)
        if found is not None:
            graphs.setdefault(graph, {"name": name, "results": {}, **colours})["results"][node.name] = found
    return graphs


def _placed(report: ReportInput) -> Iterator[tuple[str, NodeWiring]]:
    """Each node with the id of its graph."""
    names = {node.id: node.name for node in report.network.nodes}
    for node in report.network.nodes:
        graph = node.id.removesuffix(f"/{node.name}")
        holder, _, attribute = graph.rpartition(":")
        if graph == ROOT:
            yield report.network.name, node
        elif holder in names and node.name:
            yield f"{names[holder]}/{attribute}", node


def _precision(decision: NodeDecision | None) -> Result | None:
    if decision is None:
        return None
    colour = _LOW if decision.precision.is_low else _NONE if decision.precision == "none" else _FP32
    return {"value": str(decision.precision), "bgColor": colour, "textColor": "#1c2330"}


def _value(value: float | None) -> Result | None:
    return None if value is None or not math.isfinite(value) else {"value": value}


def _magnitude(report: ReportInput, node: NodeWiring) -> float | None:
    measured = [report.statistics.tensors[name] for name in node.outputs if name in report.statistics.tensors]
    return max((each.absmax for each in measured), default=None)
