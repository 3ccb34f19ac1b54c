"""What FP32 costs in bytes: wider tensors that nodes read and write, and Casts.

Each tensor counts once for its maker and once for each reader, as if every node went to memory: an engine that fuses
nodes into kernels moves less. Weights count for their readers, of a table the rows that are read.

- Nodes that change only a shape move nothing.
- Does not follow tensors into and out of the bodies of control flow, and where a size is unknown it counts as none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import onnx_ir as ir

from autocast_core.apply.placement.costs import Crossing, PrecisionCosts
from autocast_core.config import Precision
from autocast_core.graph.constants import constant_tensor
from autocast_core.graph.walk import is_counted, nodes_with_ids
from autocast_core.operators import OperandPolicy, element_type, float_operands
from autocast_core.operators.families import MOVES_ELEMENTS, READS_NO_ELEMENTS, REARRANGES, is_in
from autocast_core.plan import PrecisionPlan

_FP32_BYTES, _LOW_BYTES = 4, 2
_SAME_ORDER = REARRANGES & {"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"}
"""Outputs hold the elements of input 0 in their order: engines change the shape and move nothing."""

ALWAYS_WIDE, ALWAYS_LOW = "always FP32", "always low"
"""Makers and readers that are no nodes of the plan, such as a graph output that keeps its type."""


def traffic_costs(
    model: ir.Model, plan: PrecisionPlan, movable: AbstractSet[str], counts: Mapping[str, int]
) -> PrecisionCosts:
    """The costs in bytes of keeping `movable` nodes of `plan` in FP32; the others are as it says.

    `counts` has the number of elements of tensors by name, as `sizes_of` gives them. Each node costs one byte more, so
    that of sets that move as much the smaller one is cheaper.
    """
    return _Traffic(model, plan, movable, counts).costs()


@dataclass
class _Traffic:
    model: ir.Model
    plan: PrecisionPlan
    movable: AbstractSet[str]
    counts: Mapping[str, int]
    own: dict[str, float] = field(default_factory=dict)
    makers: dict[ir.Value, str] = field(default_factory=dict)
    readers: dict[ir.Value, list[str]] = field(default_factory=dict)

    def costs(self) -> PrecisionCosts:
        decided = {each.id: each.precision for each in self.plan.nodes}
        policy = OperandPolicy.of_plan(self.model, self.plan)
        for node_id, node in nodes_with_ids(self.model.graph):
            precision = decided.get(node_id, Precision.NONE)
            if is_counted(node) and precision is not Precision.NONE:
                self._node(node_id, node, policy)
        self._interface()
        fixed = {each.id: each.precision is Precision.FP32 for each in self.plan.nodes if each.id not in self.movable}
        return PrecisionCosts(
            "bytes", self.own, tuple(self._crossings()), {**fixed, ALWAYS_WIDE: True, ALWAYS_LOW: False}
        )

    def _node(self, node_id: str, node: ir.Node, policy: OperandPolicy) -> None:
        operands = float_operands(node, policy, self.plan.precision)
        narrower = 0
        for value, moves in zip(node.inputs, operands.inputs, strict=True):
            if value is None or element_type(value) != ir.DataType.FLOAT or is_in(node, READS_NO_ELEMENTS):
                continue
            tensor = constant_tensor(value)
            if tensor is not None:
                narrower += self._weight_elements(tensor, node) if moves else 0
                continue
            self.readers.setdefault(value, []).append(node_id if moves else ALWAYS_WIDE)
            narrower += self._elements(value) if moves else 0
        for value, moves in zip(node.outputs, operands.outputs, strict=True):
            if element_type(value) == ir.DataType.FLOAT:
                self.makers[value] = node_id if moves else ALWAYS_WIDE
                narrower += self._elements(value) if moves else 0
        if node_id in self.movable:
            moved = 0 if is_in(node, _SAME_ORDER) else narrower * (_FP32_BYTES - _LOW_BYTES)
            self.own[node_id] = 1.0 + moved

    def _interface(self) -> None:
        """Inputs and outputs that keep their types are FP32; others take what nodes beside them have."""
        settings = self.plan.settings
        for value in self.model.graph.inputs:
            if element_type(value) == ir.DataType.FLOAT:
                if settings.keeps_io_type(str(value.name)):
                    self.makers[value] = ALWAYS_WIDE
                elif settings.lower_all_io:
                    self.makers[value] = ALWAYS_LOW
        for value in self.model.graph.outputs:
            if element_type(value) == ir.DataType.FLOAT:
                if settings.keeps_io_type(str(value.name)):
                    self.readers.setdefault(value, []).append(ALWAYS_WIDE)
                elif settings.lower_all_io:
                    self.readers.setdefault(value, []).append(ALWAYS_LOW)

    def _crossings(self) -> Iterator[Crossing]:
        for value, readers in self.readers.items():
            cast = self._elements(value) * (_FP32_BYTES + _LOW_BYTES)
            maker = self.makers.get(value)
            if cast and any(reader != maker for reader in readers):
                yield Crossing(str(value.name), maker, tuple(dict.fromkeys(readers)), float(cast))

    def _elements(self, value: ir.Value) -> int:
        return self.counts.get(str(value.name), 0)

    def _weight_elements(self, tensor: ir.TensorProtocol, node: ir.Node) -> int:
        """How many elements of a weight the node reads: of a table those that it hands on."""
        return self._elements(node.outputs[0]) if is_in(node, MOVES_ELEMENTS) else int(tensor.size)
