"""Stage: whether the model is good enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class GateOutcome:
    """One gate: what was asked, what was measured (None: nothing), whether it holds, and why not."""

    expression: str
    value: float | None
    passed: bool
    reason: str = ""


def check_gates(
    expressions: Sequence[str], metrics: Mapping[str, float], evaluation_data: str, allow_random: bool
) -> tuple[GateOutcome, ...]:
    """Every gate against `metrics`. On random data none passes unless `allow_random`: there is no data to judge on."""
    from autocast_core.evaluate.gates import parse_gate

    if evaluation_data == "random" and not allow_random:
        reason = "no data: give evaluation or calibration data, or set allow_random"
        return tuple(GateOutcome(expression, None, False, reason) for expression in expressions)
    outcomes = []
    for expression in expressions:
        result = parse_gate(expression).check(metrics)
        reason = "" if result.passed else _miss(result.value)
        outcomes.append(GateOutcome(expression, result.value, result.passed, reason))
    return tuple(outcomes)


def _miss(value: float | None) -> str:
    return "was not measured" if value is None else f"is {value:.6g}"
