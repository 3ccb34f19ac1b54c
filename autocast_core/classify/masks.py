"""Which tensors carry an additive attention mask on its way to a Softmax.

A mask adds a large negative number to the scores that must not count. What is far below a row's maximum becomes 0 in
the Softmax whatever its exact value, so such a tensor's lower end says nothing about the precision that it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx_ir as ir

from autocast_core.calibrate.statistics import TensorStats

MOVEMENT = frozenset(
    {"Reshape", "Transpose", "Identity", "Cast", "Squeeze", "Unsqueeze", "Expand", "Slice", "Tile", "Flatten", "Gather"}
)
"""Operators that pass values on unchanged."""

BUILDERS = frozenset(
    {"Mul", "Sub", "ConstantOfShape", "Trilu", "Concat", "Min", "Max", "Neg", "Div", "ScatterND", "Pad"}
)
"""Operators that exporters build masks with; taken for a mask only where nothing in the result is positive."""

MAX_STEPS = 64


def mask_tensors(
    nodes: list[ir.Node], stats_of: Callable[[ir.Value], TensorStats | None], data_max: float
) -> frozenset[ir.Value]:
    """The values between a mask's origin and the Softmax or Attention that reads it, scores with mask included."""
    known: dict[ir.Value, bool] = {}
    for node in nodes:
        value = _masked_input(node)
        if value is not None:
            _carries_mask(value, stats_of, data_max, known, MAX_STEPS)
    return frozenset(value for value, found in known.items() if found)


def _masked_input(node: ir.Node) -> ir.Value | None:
    if node.domain == "" and node.op_type == "Softmax":
        return node.inputs[0]
    if node.domain == "" and node.op_type == "Attention" and len(node.inputs) > 3:
        return node.inputs[3]
    return None


def _carries_mask(
    value: ir.Value,
    stats_of: Callable[[ir.Value], TensorStats | None],
    data_max: float,
    known: dict[ir.Value, bool],
    steps: int,
) -> bool:
    if value in known:
        return known[value]
    stats = stats_of(value)
    found = False
    if steps and stats is not None and stats.min < -data_max and stats.max <= data_max:
        found = _origin_is_mask(value, stats, lambda each: _carries_mask(each, stats_of, data_max, known, steps - 1))
    known[value] = found
    return found


def _origin_is_mask(value: ir.Value, stats: TensorStats, carries: Callable[[ir.Value], bool]) -> bool:
    producer = value.producer()
    if producer is None or producer.op_type == "Constant":
        return stats.max <= 0
    inputs = [each for each in producer.inputs if each is not None]
    if producer.op_type == "Add":
        found = [carries(each) for each in inputs]
        return any(found)
    if producer.op_type == "Where":
        found = [carries(each) for each in inputs[1:]]
        return any(found)
    if producer.op_type in MOVEMENT:
        return carries(inputs[0])
    if producer.op_type in BUILDERS and stats.max <= 0:
        for each in inputs:
            carries(each)
        return True
    return False


def weights_and_activations(
    tensors: Mapping[str, TensorStats], weights: Mapping[str, TensorStats]
) -> Callable[[ir.Value], TensorStats | None]:
    """Looks a value's statistics up, a weight's first."""

    def stats_of(value: ir.Value) -> TensorStats | None:
        return weights.get(value.name or "") or tensors.get(value.name or "")

    return stats_of
