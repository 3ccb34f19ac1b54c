"""Which weights and activations hold NaN or infinity, as far as their statistics tell; no data is read for it.

Infinity is meant where it masks (what goes to a Softmax only) and in constants of one element (the start of a maximum,
a fill value); NaN never is.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from autocast_core.calibrate.statistics import Statistics, TensorStats
from autocast_core.sanitize import mask_paths


def nonfinite_weights(model: ir.Model, weights: Mapping[str, TensorStats]) -> dict[str, int]:
    """By name of the weight how many elements are NaN or infinite, in the model's order, where that is an error."""
    suspects = {name: stats.nonfinite for name, stats in weights.items() if stats.nonfinite and not _is_infinity(stats)}
    if not suspects:
        return {}
    masks = {name for path in mask_paths(model) for name in path.values}
    return {name: count for name, count in suspects.items() if name not in masks}


def nonfinite_activations(model: ir.Model, statistics: Statistics) -> str | None:
    """One line on the tensors that held NaN or infinity in calibration; None where none did, masks aside."""
    found = {name: stats.nonfinite for name, stats in statistics.tensors.items() if stats.nonfinite}
    if not found:
        return None
    inputs = [value for value in model.graph.inputs if value.name in found]
    masks = {name for path in mask_paths(model, inputs) for name in path.values}
    names = [name for name in found if name not in masks]
    if not names:
        return None
    kind = "input" if names[0] in {value.name for value in inputs} else "tensor"
    others = f", as do {len(names) - 1:,} more tensors" if len(names) > 1 else ""
    return f"in calibration {kind} {names[0]!r} holds {found[names[0]]:,} NaN or infinite values{others}"


def _is_infinity(stats: TensorStats) -> bool:
    """Whether it is one element, which is infinite: NaN leaves no range."""
    return stats.count == 1 and stats.min == stats.max
