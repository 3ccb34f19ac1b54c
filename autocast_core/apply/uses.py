"""Which element type every reader of a float value requests.

Places and uses are named tuples: there are several for each node, and a frozen dataclass takes twice as long to make.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import onnx_ir as ir

from autocast_core.graph.annotations import raw_attributes
from autocast_core.graph.walk import all_graphs, bodies, is_counted
from autocast_core.number_formats import INDEX_DTYPES, PRECISION_DTYPES
from autocast_core.operators import Operands, element_type, ports_of
from autocast_core.operators.families import READS_NO_ELEMENTS, is_in


class NodeInput(NamedTuple):
    """Input `position` of a node as a place that reads a value."""

    node: ir.Node
    position: int

    def read(self) -> ir.Value | None:
        return self.node.inputs[self.position]

    def write(self, value: ir.Value) -> None:
        self.node.replace_input_with(self.position, value)


class GraphOutput(NamedTuple):
    """Output `position` of a graph or a body as a place that reads a value."""

    graph: ir.Graph
    position: int

    def read(self) -> ir.Value:
        return self.graph.outputs[self.position]

    def write(self, value: ir.Value) -> None:
        self.graph.outputs[self.position] = value


Place = NodeInput | GraphOutput


class Use(NamedTuple):
    """A place and the element type it requests; not `required` for a Cast, which takes any type but may be removed."""

    place: Place
    requested: ir.DataType
    required: bool = True


@dataclass
class Uses:
    """All uses of float values, by value, in graph order."""

    by_value: dict[ir.Value, list[Use]] = field(default_factory=dict)

    def add(self, value: ir.Value | None, use: Use) -> None:
        """Note a use; an omitted operand has none."""
        if value is not None:
            self.by_value.setdefault(value, []).append(use)

    def move(self, value: ir.Value, use: Use, other: ir.Value) -> None:
        """Let a use of `value` be one of `other`."""
        self.by_value[value].remove(use)
        self.add(other, use)

    def change_request(self, value: ir.Value | None, place: Place, dtype: ir.DataType) -> None:
        """Let the use of `value` at `place`, where there is one, request another type."""
        if value in self.by_value:
            uses = self.by_value[value]
            uses[:] = [use._replace(requested=dtype) if use.place == place else use for use in uses]

    def requested_types(self, value: ir.Value) -> list[ir.DataType]:
        """The distinct types that the readers of `value` request, in order."""
        return list(dict.fromkeys(use.requested for use in self.by_value.get(value, ())))

    def required_types(self, value: ir.Value) -> list[ir.DataType]:
        """The same without Casts."""
        return list(dict.fromkeys(use.requested for use in self.by_value.get(value, ()) if use.required))

    def requested_beside(self, value: ir.Value, satisfied: list[ir.DataType]) -> list[ir.DataType]:
        """The distinct types requested by readers other than nodes and outputs that request one of `satisfied`."""
        uses = self.by_value.get(value, ())
        return list(dict.fromkeys(use.requested for use in uses if not (use.required and use.requested in satisfied)))


def collect_uses(
    nodes: list[ir.Node],
    original: Mapping[ir.Value, ir.DataType | None],
    moves: Mapping[ir.Node, tuple[Operands, ir.DataType]],
) -> Uses:
    """The uses of float values by nodes and bodies; `GraphInterface` adds those of the main graph's outputs.

    `original` gives each value's element type before the conversion, `moves` the operands that change, by node.
    """
    uses = Uses()
    for node in nodes:
        operands, low = moves.get(node, (None, None))
        counted = is_counted(node)
        to = None if counted else cast_target(node)
        for index, value in enumerate(() if is_in(node, READS_NO_ELEMENTS) else node.inputs):
            dtype = original.get(value) if value is not None else None
            if dtype not in PRECISION_DTYPES:
                continue
            place = NodeInput(node, index)
            if not counted:
                if to in PRECISION_DTYPES:
                    uses.add(value, Use(place, to, required=False))
                elif to in INDEX_DTYPES and value is not None and value.is_graph_input():
                    uses.add(value, Use(place, dtype))  # identifiers, of which a rounding makes others
            elif operands is not None and low is not None and operands.inputs[index]:
                uses.add(value, Use(place, low))
            else:
                uses.add(value, Use(place, dtype))
        _collect_ports(node, original, moves, uses)
    return uses


def _collect_ports(
    node: ir.Node,
    original: Mapping[ir.Value, ir.DataType | None],
    moves: Mapping[ir.Node, tuple[Operands, ir.DataType]],
    uses: Uses,
) -> None:
    operands, low = moves.get(node, (None, None))
    covered = set()
    for port in ports_of(node):
        moving = operands is not None and port.output_index is not None and operands.outputs[port.output_index]
        for output in port.body_outputs:
            covered.add((output.graph, output.index))
            dtype = original.get(output.value)
            if dtype in PRECISION_DTYPES:
                requested = low if moving and low is not None else dtype
                uses.add(output.value, Use(GraphOutput(output.graph, output.index), requested))
    for _, body in bodies(node) if raw_attributes(node) else ():
        for index, value in enumerate(body.outputs):
            dtype = original.get(value)
            if dtype in PRECISION_DTYPES and (body, index) not in covered:
                uses.add(value, Use(GraphOutput(body, index), dtype))


def cast_target(node: ir.Node) -> ir.DataType | None:
    """The type that a Cast makes; None for any other node."""
    if node.domain != "" or node.op_type != "Cast" or "to" not in node.attributes:
        return None
    return ir.DataType(node.attributes["to"].as_int())


def types_before(graph: ir.Graph, nodes: list[ir.Node]) -> dict[ir.Value, ir.DataType | None]:
    """The element type of every value of the model."""
    values: dict[ir.Value, ir.DataType | None] = {}
    graphs = all_graphs(graph)
    for each in graphs:
        for value in (*each.inputs, *each.initializers.values()):
            values[value] = element_type(value)
    for node in nodes:
        for value in node.outputs:
            values[value] = element_type(value)
    return values
