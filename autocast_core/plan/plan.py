"""The precision plan: per node its precision, the rule that decided, and the evidence; canonical JSON; diff.

A plan is the product of thought, made by classification, search or people; `autocast_core.apply` prints it out as a
model without looking at any data.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from autocast_core.config import Precision
from autocast_core.errors import PlanError

PLAN_FORMAT = 1


@dataclass(frozen=True)
class Evidence:
    """One measured or declared quantity that speaks for a decision; None where it does not apply."""

    tensor: str | None = None
    min: float | None = None
    max: float | None = None
    absmax: float | None = None
    limit: float | None = None
    detail: str | None = None


@dataclass(frozen=True)
class NodeDecision:
    """What a node computes in and why.

    `id` is the node's path (``graph/NAME``, ``graph/If_3:then_branch/NAME``); `rule` the rule that decided
    (``default`` where none kept it); `replaces` the names of the nodes it was fused from.
    """

    id: str
    op_type: str
    domain: str
    precision: Precision
    rule: str
    reason: str = ""
    evidence: tuple[Evidence, ...] = ()
    replaces: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlanCounts:
    """How many nodes have which precision; see `share`."""

    total: int
    low_precision: int
    fp32: int

    @property
    def share(self) -> float:
        """low / (low + fp32), 1.0 for a model without float nodes."""
        floats = self.low_precision + self.fp32
        return self.low_precision / floats if floats else 1.0


@dataclass(frozen=True)
class WeightChange:
    """An initializer whose values do not all survive the low type: counts of elements, out-of-range policy applied."""

    tensor: str
    clamped: int
    underflowed: int


@dataclass(frozen=True)
class PrecisionPlan:
    """Per node a decision, for one structure; see the module.

    `settings` are those that apply() needs beyond the nodes: ``keep_io_types`` (bool or list of names),
    ``init_conversion_max_bytes`` (int or None). `sanitize` lists the changes that led to the graph the plan speaks of.
    """

    precision: Precision
    structure_digest: str
    weights_digest: str
    nodes: tuple[NodeDecision, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    sanitize: tuple[Mapping[str, Any], ...] = ()
    weights: tuple[WeightChange, ...] = ()
    io_kept: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    engine_version: str = ""
    format: int = PLAN_FORMAT

    def counts(self) -> PlanCounts:
        """Counts over all nodes; those without a float tensor count in `total` only."""
        seen = Counter(decision.precision for decision in self.nodes)
        low = seen[Precision.FP16] + seen[Precision.BF16]
        return PlanCounts(len(self.nodes), low, seen[Precision.FP32])

    def summary(self) -> str:
        """The line a conversion ends with, as AutoCast prints it."""
        counts = self.counts()
        floats = counts.low_precision + counts.fp32
        return f"Converted {counts.low_precision}/{floats} nodes ({counts.share:.2%}) to {self.precision}"

    def by_id(self) -> dict[str, NodeDecision]:
        """The decisions by node id."""
        return {decision.id: decision for decision in self.nodes}

    def with_precisions(self, changes: Mapping[str, Precision], rule: str, reason: str) -> PrecisionPlan:
        """The plan with the nodes named in `changes` decided anew by `rule`; evidence of those nodes is kept."""
        unknown = sorted(set(changes) - {decision.id for decision in self.nodes})
        if unknown:
            raise PlanError(f"the plan has no node {unknown[0]!r}: give a node id as `autocast plan show` prints it")
        nodes = tuple(
            replace(decision, precision=changes[decision.id], rule=rule, reason=reason)
            if decision.id in changes and decision.precision != changes[decision.id]
            else decision
            for decision in self.nodes
        )
        return replace(self, nodes=nodes)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, two-space indent, no NaN or Infinity (null), ends in a newline."""
        return json.dumps(_finite(_without_defaults(self)), indent=1, sort_keys=True, allow_nan=False) + "\n"

    @staticmethod
    def from_json(text: str) -> PrecisionPlan:
        """The plan that `to_json` wrote. PlanError where it is not one."""
        try:
            raw = json.loads(text)
        except ValueError as error:
            raise PlanError(f"the plan is not JSON: {error}") from error
        except RecursionError as error:
            raise PlanError("the plan is nested too deeply to be one of ours") from error
        if not isinstance(raw, dict) or raw.get("format") != PLAN_FORMAT:
            found = raw.get("format") if isinstance(raw, dict) else type(raw).__name__
            raise PlanError(f"the plan has format {found!r}, this version reads format {PLAN_FORMAT}")
        try:
            return _plan_from(raw)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PlanError(f"the plan lacks or misspells a field: {error!r}") from error


def read_plan(path: str | Path) -> PrecisionPlan:
    """The plan in the file at `path`. PlanError where it is missing, unreadable or no plan."""
    try:
        return PrecisionPlan.from_json(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"{path}: cannot read the plan: {error}") from error
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from error


@dataclass(frozen=True)
class DecisionChange:
    """One node that two plans decide differently; None on the side that does not have it."""

    id: str
    before: NodeDecision | None
    after: NodeDecision | None


def diff(before: PrecisionPlan, after: PrecisionPlan) -> tuple[DecisionChange, ...]:
    """The nodes whose precision, rule or reason differ, in the order of `before`, then the new ones of `after`."""
    old, new = before.by_id(), after.by_id()
    changes = []
    for node_id in [*old, *(node_id for node_id in new if node_id not in old)]:
        left, right = old.get(node_id), new.get(node_id)
        if left is None or right is None or _verdict(left) != _verdict(right):
            changes.append(DecisionChange(node_id, left, right))
    return tuple(changes)


def _verdict(decision: NodeDecision) -> tuple[str, str, str]:
    return decision.precision, decision.rule, decision.reason


def _without_defaults(value: Any) -> Any:
    if isinstance(value, PrecisionPlan):
        return {f.name: _without_defaults(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, NodeDecision | Evidence | WeightChange):
        raw = asdict(value)
        return {key: _without_defaults(item) for key, item in raw.items() if item not in (None, (), "")}
    if isinstance(value, Mapping):
        return {key: _without_defaults(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_defaults(item) for item in value]
    return value


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value


def _plan_from(raw: Mapping[str, Any]) -> PrecisionPlan:
    precision = Precision(raw["precision"])
    if not precision.is_low:
        raise ValueError(f"precision {precision} is no 16-bit type")
    return PrecisionPlan(
        precision=precision,
        structure_digest=str(raw["structure_digest"]),
        weights_digest=str(raw["weights_digest"]),
        nodes=tuple(_decision_from(item) for item in raw["nodes"]),
        settings=_settings_from(raw.get("settings", {})),
        sanitize=tuple(dict(item) for item in raw.get("sanitize", ())),
        weights=tuple(WeightChange(**item) for item in _with_zeros(raw.get("weights", ()))),
        io_kept=_texts(raw.get("io_kept", []), "io_kept"),
        data=dict(raw.get("data", {})),
        warnings=_texts(raw.get("warnings", []), "warnings"),
        engine_version=str(raw.get("engine_version", "")),
    )


def _with_zeros(items: Iterable[Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
    return ({"clamped": 0, "underflowed": 0, **item} for item in items)


def _decision_from(item: Mapping[str, Any]) -> NodeDecision:
    return NodeDecision(
        id=str(item["id"]),
        op_type=str(item["op_type"]),
        domain=str(item.get("domain", "")),
        precision=Precision(item["precision"]),
        rule=str(item["rule"]),
        reason=str(item.get("reason", "")),
        evidence=tuple(Evidence(**entry) for entry in item.get("evidence", ())),
        replaces=_texts(item.get("replaces", []), "replaces"),
    )


def _texts(value: Any, what: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise TypeError(f"{what} is no list of texts")
    return tuple(value)


def _settings_from(raw: Any) -> dict[str, Any]:
    """The settings, each of the form in which the classifier writes it."""
    settings = dict(raw)
    keep, most = settings.get("keep_io_types", False), settings.get("init_conversion_max_bytes")
    if not isinstance(keep, bool):
        _texts(keep, "keep_io_types")
    if most is not None and (type(most) is not int or most < 0):
        raise TypeError("init_conversion_max_bytes is no number of bytes")
    for block in dict(settings.get("operands_to_exclude", {})).values():
        if any(type(index) is not int for indices in dict(block).values() for index in indices):
            raise TypeError("operands_to_exclude holds no indices")
    for inputs, outputs in dict(settings.get("plugin_precisions", {})).values():
        for each in (inputs, outputs):
            tuple(map(Precision, _texts(each, "plugin_precisions")))
    return settings
