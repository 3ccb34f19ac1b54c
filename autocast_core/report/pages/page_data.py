"""The node table of report.html as compact JSON: strings once, names front-coded, numbers short.

The script templates/report/network.js is its only reader. Texts are made visible here; the page shows them as text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from autocast_core.calibrate.statistics import TensorStats
from autocast_core.decide.rules import entry_of
from autocast_core.plan import Evidence, NodeDecision
from autocast_core.precision import types_text
from autocast_core.report.content import ReportInput
from autocast_core.report.figures.map_data import map_data
from autocast_core.report.network import NodeWiring
from autocast_core.report.text import number
from autocast_core.text import visible

_SCRIPT = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})
NAME = 200


def page_data(report: ReportInput) -> dict[str, Any]:
    """What the page's script reads.

    ``ids`` and ``tensors`` are front-coded (`front_coded`); ``ranges[i]`` is [min, max, nonfinite] of tensor i or 0
    where it was not measured; ``shares`` (only where errors were attributed) are the nodes' shares of the error at the
    outputs, null for a node that is not lowered; ``nodes`` are rows [op, precision, rule, reason, evidence, inputs,
    outputs, replaces, pattern] with trailing zeros left out, where op, rule and reason index ``strings``, inputs and
    outputs ``tensors``; ``rules`` has for each rule in them [when it applies, whether it is binding]. For the rest see
    `figures.map_data`.
    """
    strings, tensors = _Index(), _Index()
    wires = {node.id: node for node in report.network.nodes}
    nodes = [_row(decision, wires.get(decision.id), strings, tensors) for decision in report.plan.nodes]
    drawn = map_data(report, strings.of, tensors.of)
    return {
        **_shares(report),
        **drawn,
        "precision": types_text(report.plan.low_types, " and "),
        "rules": {visible(rule): _rule(rule) for rule in sorted({decision.rule for decision in report.plan.nodes})},
        "ids": front_coded(visible(decision.id, NAME) for decision in report.plan.nodes),
        "tensors": front_coded(visible(name, NAME) for name in tensors.items),
        "ranges": [_range(report.statistics.tensors.get(name)) for name in tensors.items],
        "strings": strings.items,
        "nodes": nodes,
    }


def _rule(rule: str) -> list[str | bool]:
    entry = entry_of(rule)
    return [entry.description, entry.is_binding]


def _shares(report: ReportInput) -> dict[str, list[float | None]]:
    if report.attribution is None or not report.attribution.nodes:
        return {}
    shares = {node.id: float(f"{node.share:.3g}") for node in report.attribution.nodes}
    return {"shares": [shares.get(decision.id) for decision in report.plan.nodes]}


def script_json(data: Mapping[str, Any]) -> str:
    """Compact JSON that may stand inside a script element: no ``<``, ``>`` or ``&`` in it."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).translate(_SCRIPT)


def front_coded(names: Iterable[str]) -> list[int | str]:
    """Alternately how many characters a name shares with the one before it, and the rest of the name."""
    coded: list[int | str] = []
    before = ""
    for name in names:
        shared = _shared(before, name)
        coded += (shared, name[shared:])
        before = name
    return coded


class _Index:
    """Texts in the order in which they were first asked for."""

    def __init__(self) -> None:
        self.items: list[str] = []
        self._at: dict[str, int] = {}

    def of(self, text: str) -> int:
        if text not in self._at:
            self._at[text] = len(self.items)
            self.items.append(text)
        return self._at[text]


def _row(decision: NodeDecision, wire: NodeWiring | None, strings: _Index, tensors: _Index) -> list[Any]:
    op_type = f"{decision.domain}::{decision.op_type}" if decision.domain else decision.op_type
    row: list[Any] = [
        strings.of(visible(op_type)),
        str(decision.precision),
        strings.of(visible(decision.rule)),
        strings.of(visible(decision.reason, 400)),
        [_evidence(entry, tensors) for entry in decision.evidence] or 0,
        [tensors.of(name) for name in wire.inputs] if wire and wire.inputs else 0,
        [tensors.of(name) for name in wire.outputs] if wire and wire.outputs else 0,
        [visible(name) for name in decision.replaces] or 0,
        _pattern(decision, wire),
    ]
    while row[-1] == 0:
        row.pop()
    return row


def _pattern(decision: NodeDecision, wire: NodeWiring | None) -> str | int:
    """A regular expression for exactly this node's name; 0: the page makes it of the id; empty: it cannot be typed."""
    name = wire.name if wire is not None else decision.id.removeprefix("graph/")
    if name != visible(name, NAME):
        return ""
    derivable = decision.id == f"graph/{name}" and decision.id == visible(decision.id, NAME)
    return 0 if derivable else re.escape(name) + "$"


def _evidence(entry: Evidence, tensors: _Index) -> list[Any]:
    tensor = tensors.of(entry.tensor) if entry.tensor else -1
    numbers = [_number(value) for value in (entry.min, entry.max, entry.absmax, entry.limit)]
    return [tensor, *numbers, visible(entry.detail)] if entry.detail else [tensor, *numbers]


def _range(stats: TensorStats | None) -> list[Any] | int:
    if stats is None or stats.min > stats.max:
        return 0
    found = [_number(stats.min), _number(stats.max)]
    return [*found, stats.nonfinite] if stats.nonfinite else found


def _number(value: float | None) -> float | str | None:
    """Six significant digits; infinities as the signs that the page shows, for JSON has no number for them."""
    if value is None or math.isnan(value):
        return None
    return float(f"{value:.6g}") if math.isfinite(value) else number(value)


def _shared(left: str, right: str) -> int:
    end = min(len(left), len(right))
    return next((index for index in range(end) if left[index] != right[index]), end)
