"""What a measured decision has to reach: the gates that judge fidelity, as they read on the data that it may look at.

- Does not look at gates on accuracy (``top1_drop``, a metric of the user's own), nor at the original's own NaN.
- Does not look at data that only judges: where that is other data, its result counts as one number a gate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from autocast_core.config import Precision
from autocast_core.evaluate import DEFAULT_GATES, AskedGates, Gate, GateResult
from autocast_core.evaluate.gates import NO_NONFINITE
from autocast_core.evaluate.metric_names import own_name
from autocast_core.evaluate.worst_batch import HIGHER_IS_BETTER
from autocast_core.search.budget import Budget
from autocast_core.search.trials import Trial

NOTHING_LOST_DB = 0.1
"""What counts as no loss: it is within what the order of sums changes."""
_DB, _EQUAL = "sqnr_db", "equal_share"


@dataclass(frozen=True)
class Target:
    """The gates, and what the converted model reached where it was judged; `names` are those of outputs in metrics."""

    gates: tuple[Gate, ...]
    judged: Mapping[str, float]
    names: Mapping[str, str]

    @property
    def missed(self) -> tuple[GateResult, ...]:
        """The gates that the model missed where it was judged."""
        results = (gate.check(self.judged, self.names) for gate in self.gates)
        return tuple(result for result in results if not result.passed)

    def on(self, metrics: Mapping[str, float]) -> tuple[Gate, ...]:
        """The gates for other data, on which the same model reached `metrics`: stricter by as much as that is better.

        Gates on what `metrics` lack are left out.
        """
        return tuple(
            shifted
            for gate in self.gates
            if (here := gate.check(metrics, self.names).value) is not None
            for shifted in [_shifted(gate, here, gate.check(self.judged, self.names).value)]
        )


def target_of(
    asked: AskedGates | None, precision: Precision, metrics: Mapping[str, float], names: Mapping[str, str]
) -> Target:
    """The target that the gates set (None: the default gates); `metrics` are those of the converted model. ConfigError
    where a gate names an output that the model does not have."""
    gates = (asked or DEFAULT_GATES).parsed(precision, metrics, names)
    judging = (gate for gate in gates if gate.is_fidelity and gate.expression.strip() != NO_NONFINITE)
    measured = tuple(gate for gate in judging if gate.check(metrics, names).value is not None)
    return Target(measured, dict(metrics), dict(names))


def _shifted(gate: Gate, here: float, judged: float | None) -> Gate:
    """`gate` stricter by the difference of `here` and the worse `judged`, as far as both are numbers."""
    if judged is None or not (math.isfinite(here) and math.isfinite(judged)) or not _is_better(gate, here, judged):
        return gate
    if gate.metric == _DB:
        limit = gate.limit + here - judged
    elif gate.metric in HIGHER_IS_BETTER:
        limit = 1.0 - (1.0 - gate.limit) * (1.0 - here) / (1.0 - judged)
    else:
        limit = gate.limit * here / judged
    return with_limit(gate, limit)


def _is_better(gate: Gate, here: float, judged: float) -> bool:
    return here > judged if gate.metric in HIGHER_IS_BETTER else here < judged


def nearest_reachable(budget: Budget, low: Trial, full: Trial) -> Budget | None:
    """`budget`; where the trial `full`, which keeps every node, misses it, one that asks for what `full` reaches.

    None where `low`, which keeps no node, comes as close.
    """
    if budget.met(full):
        return budget
    gates = []
    for gate, result in zip(budget.gates, budget.results(full), strict=True):
        if result.passed:
            gates.append(gate)
        elif result.value is not None and math.isfinite(result.value):
            gates.append(_near(gate, result.value))
    nearest = replace(budget, gates=tuple(gates))
    return None if full.error is not None or nearest.met(low) else nearest


def nothing_lost(names: Mapping[str, str], reached: Mapping[str, float]) -> tuple[Gate, ...]:
    """A gate for each output of `names` (as they are in metrics): that it is within NOTHING_LOST_DB of what it
    `reached`; of integers, booleans and strings, that as many are equal."""
    found = []
    for output in names:
        ratio, equal = (reached.get(own_name(output, metric, names)) for metric in (_DB, _EQUAL))
        if equal is not None:
            found.append(Gate(f"{output}.{_EQUAL}>={equal:.6g}", _EQUAL, ">=", equal, output))
        elif ratio is not None:
            limit = ratio - NOTHING_LOST_DB
            found.append(Gate(f"{output}.{_DB}>={limit:.6g}", _DB, ">=", limit, output))
    return tuple(found)


def _near(gate: Gate, value: float) -> Gate:
    """`gate` with the limit that `value` reaches and has NOTHING_LOST_DB to spare."""
    slack = 10.0 ** (NOTHING_LOST_DB / 20.0)
    if gate.metric == _DB:
        return with_limit(gate, value - NOTHING_LOST_DB)
    return with_limit(gate, 1.0 - (1.0 - value) * slack if gate.metric in HIGHER_IS_BETTER else value * slack)


def with_limit(gate: Gate, limit: float) -> Gate:
    """`gate` with another limit, and an expression that says so."""
    if limit == gate.limit:
        return gate
    left, _, _ = gate.expression.partition(gate.comparison)
    return replace(gate, limit=limit, expression=f"{left.strip()}{gate.comparison}{limit:.6g}")
