"""Which tensors carry an additive attention mask on its way to a Softmax.

A mask adds a large negative number to the scores that must not count. What is far below a row's maximum becomes 0 in
the Softmax whatever its exact value, so such a tensor's lower end says nothing about the precision that it needs.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from autocast_core.calibrate.statistics import TensorStats
from autocast_core.operators import element_type
from autocast_core.sanitize import mask_paths


def mask_ends(model: ir.Model, stats_of: Callable[[ir.Value], TensorStats | None], data_max: float) -> dict[str, int]:
    """The values that carry a mask, scores with mask included, by name: at the lower end (-1) or at the upper (1).

    The graph tells where a constant mask goes. Whether a graph input is a mask, only its elements tell: it has some
    below -`data_max` and none above `data_max`.
    """
    suspects = []
    for value in model.graph.inputs:
        stats = stats_of(value) if element_type(value) == ir.DataType.FLOAT else None
        if stats is not None and stats.min < -data_max and stats.max <= data_max:
            suspects.append(value)
    ends: dict[str, int] = {}
    for path in mask_paths(model, suspects):
        ends.update(zip(path.values, path.signs, strict=True))
    return ends
