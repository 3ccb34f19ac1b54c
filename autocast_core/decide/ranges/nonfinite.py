"""Which weights and activations hold NaN or infinity, as far as their statistics tell; no data is read for it.

Infinity is meant where it masks (what goes to a Softmax only) and in constants of one element (the start of a maximum,
a fill value); NaN never is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import onnx_ir as ir

from autocast_core.calibrate.statistics import Statistics, TensorStats
from autocast_core.graph.walk import all_nodes
from autocast_core.sanitize import mask_paths


def nonfinite_weights(model: ir.Model, weights: Mapping[str, TensorStats]) -> dict[str, int]:
    """By name of the weight how many elements are NaN or infinite, in the model's order, where that is an error."""
    suspects = {name: stats.nonfinite for name, stats in weights.items() if stats.nonfinite and not _is_infinity(stats)}
    if not suspects:
        return {}
    masks = {name for path in mask_paths(model) for name in path.values}
    return {name: count for name, count in suspects.items() if name not in masks}


def nonfinite_activations(model: ir.Model, statistics: Statistics) -> str | None:
    """One line on the inputs that held NaN or infinity in calibration, masks aside, else on the tensors that held NaN;
    None where none did.

    Infinity inside a model is often meant, as in the logarithm of a 0 that is not used; where a tensor held some, its
    statistics do not tell whether it held NaN too.
    """
    found = {name: stats for name, stats in statistics.tensors.items() if stats.nonfinite}
    if not found:
        return None
    inputs = [value for value in model.graph.inputs if value.name in found]
    masks = {name for path in mask_paths(model, inputs) for name in path.values} if inputs else set()
    names = [str(value.name) for value in inputs if value.name not in masks]
    where = statistics.first_nonfinite
    if names and where is not None and f"input {names[0]!r} holds" in where:
        return f"in calibration, {where}"
    if names:
        return _line("input", "NaN or infinite", names, found)
    computed = (str(value.name) for node in all_nodes(model.graph) for value in node.outputs)
    names = [name for name in computed if name in found and _holds_nan_only(found[name])]
    return _line("tensor", "NaN", names, found) if names else None


def _line(kind: str, what: str, names: Sequence[str], found: Mapping[str, TensorStats]) -> str:
    others = f", as do {len(names) - 1:,} more" if len(names) > 1 else ""
    return f"in calibration {kind} {names[0]!r} holds {found[names[0]].nonfinite:,} {what} values{others}"


def _holds_nan_only(stats: TensorStats) -> bool:
    """Whether what is not finite is NaN: the numbers have a finite range, or there are none."""
    return (math.isfinite(stats.min) and math.isfinite(stats.max)) or stats.min > stats.max


def _is_infinity(stats: TensorStats) -> bool:
    """Whether it is one element, which is infinite: NaN leaves no range."""
    return stats.count == 1 and stats.min == stats.max
