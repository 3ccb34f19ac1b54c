"""Stage: whether the converted model passes its gates."""

from __future__ import annotations

from collections.abc import Sequence

from autocast_core.evaluate import GateResult, parse_gate
from autocast_core.pipeline.stages.evaluate import Evaluated

NO_DATA = "no data: give evaluation or calibration data, or set allow_random in the spec"


def check_gates(expressions: Sequence[str], evaluated: Evaluated, *, allow_random: bool) -> tuple[GateResult, ...]:
    """Every gate against what was measured. On random data none passes unless `allow_random`.

    ConfigError where a gate names an output that the model does not have.
    """
    gates = [parse_gate(expression) for expression in expressions]
    if evaluated.data == "random" and not allow_random:
        return tuple(gate.failed(NO_DATA) for gate in gates)
    if not evaluated.fidelity:
        return tuple(gate.failed("; ".join(evaluated.skipped) or "nothing was measured") for gate in gates)
    return tuple(gate.check(evaluated.metrics, evaluated.names) for gate in gates)
