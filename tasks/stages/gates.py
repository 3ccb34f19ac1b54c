"""Stage: whether the converted model passes its gates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from autocast_core.config import Precision
from autocast_core.evaluate import AskedGates, GateResult, parse_gate
from autocast_core.evaluate.gates import ALLOW_NONFINITE, NO_NONFINITE
from autocast_core.evaluate.metric_names import of_worst_output
from autocast_core.pipeline.stages.evaluate import Evaluated
from autocast_core.search.attribution import Attribution

NO_DATA = "no data: give evaluation or calibration data, or set allow_random in the spec"


def check_gates(
    asked: AskedGates, evaluated: Evaluated, precision: Precision = Precision.FP16
) -> tuple[GateResult, ...]:
    """Every gate that is `asked` of a model in `precision` against what was measured.

    ConfigError where a gate names an output that the model does not have.
    """
    metrics, names = evaluated.metrics, evaluated.names
    gates = asked.parsed(precision, metrics, names)
    if evaluated.data == "random" and not asked.allow_random:
        return tuple(gate.failed(NO_DATA) for gate in gates)
    if not evaluated.fidelity:
        return tuple(gate.failed("; ".join(evaluated.skipped) or "nothing was measured") for gate in gates)
    return tuple(gate.check(metrics, names, evaluated.places) for gate in gates)


def check_nonfinite(evaluated: Evaluated, weights: str | None, *, allowed: bool) -> tuple[GateResult, ...]:
    """A missed gate where the source gives NaN or infinity, or its `weights` hold some (a line that says which), unless
    `allowed`; else none."""
    found = [line for line in (weights, evaluated.nonfinite_results) if line]
    if allowed or not found:
        return ()
    count = evaluated.metrics.get(of_worst_output("nonfinite"))
    return (GateResult(NO_NONFINITE, count, False, f"{'; '.join(found)}; {ALLOW_NONFINITE}"),)


def with_blame(gates: Sequence[GateResult], attribution: Attribution) -> tuple[GateResult, ...]:
    """`gates`, where one misses a fidelity that was measured with the node that most of the error comes from."""
    text = attribution.blame()
    if text is None:
        return tuple(gates)
    return tuple(replace(gate, reason=f"{gate.reason}; {text}") if _misses_fidelity(gate) else gate for gate in gates)


def _misses_fidelity(gate: GateResult) -> bool:
    if gate.passed or gate.value is None or gate.expression == NO_NONFINITE:
        return False
    return parse_gate(gate.expression).is_fidelity
