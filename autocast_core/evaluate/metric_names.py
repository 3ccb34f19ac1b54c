"""The first parts of the names of metrics, which say what was compared with the source, and names asked for often."""

from __future__ import annotations

SIMULATION = "fidelity"
"""Prefix of what the simulated model's outputs give: FP32 accumulation, 16-bit storage."""
ONNXRUNTIME = "fidelity_onnxruntime"
"""Prefix of what ONNX Runtime's outputs give; its CPU provider computes FP16 models in FP32."""
NOISE_FLOOR = "noise_floor"
"""Prefix of what the source's own outputs give without graph optimisation: errors below it say nothing."""
WORST_REL_L2 = f"{SIMULATION}.worst.rel_l2"
WORST_SQNR = f"{SIMULATION}.worst.sqnr_db"
WORST_BATCH_SQNR = f"{SIMULATION}.worst_batch.sqnr_db"
_BOUND = "fidelity_bound_"
_SPARED = "_but_"


def bound_prefix(accumulate: str, spared: str = "") -> str:
    """Prefix of what the simulated model gives with 16-bit insides: a bound, not a measurement of an engine.

    `accumulate` is the way of accumulating; `spared` an operator type that is FP32 inside all the same: what that gains
    is the worth of a repair.
    """
    return f"{_BOUND}{accumulate}{_SPARED}{spared}" if spared else f"{_BOUND}{accumulate}"


def bound_of(prefix: str) -> tuple[str, str] | None:
    """The way of accumulating and the spared type (or "") that `bound_prefix` made the prefix of; None for another."""
    if not prefix.startswith(_BOUND):
        return None
    accumulate, _, spared = prefix.removeprefix(_BOUND).partition(_SPARED)
    return accumulate, spared
