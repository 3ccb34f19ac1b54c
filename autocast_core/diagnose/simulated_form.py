"""A model as a diagnosis runs it: in FP32, with the roundings of its 16-bit types, without whole tables in FP32."""

from __future__ import annotations

import onnx_ir as ir

from autocast_core.graph.walk import all_nodes
from autocast_core.number_formats import LOW_DTYPES
from autocast_core.operators import element_type
from autocast_core.simulate import Accumulate, simulate
from autocast_core.simulate.roundtrip import RoundTrips


def simulated_form(model: ir.Model, accumulate: Accumulate = Accumulate.FP32) -> ir.Model:
    """`model` in simulation with the accumulation `accumulate`, under the same names of values; itself where it has no
    16-bit types.

    A Gather reads rows of a 16-bit table and widens these, where the simulation widens the table: one of 30,000 rows
    takes 94 MB in FP32.
    """
    if not has_low_types(model):
        return model
    found = simulate(model, accumulate)
    trips = RoundTrips(found)
    for node in list(found.graph):
        table = _widened_table(node)
        output = node.outputs[0]
        if table is not None and not output.is_graph_output():
            node.replace_input_with(0, table)
            output.type = ir.TensorType(_low_type(table))
            trips.behind(node, output, _low_type(table))
    _drop_unread_casts(found.graph)
    return found


def has_low_types(model: ir.Model) -> bool:
    """Whether a node of `model` reads or makes 16-bit values."""
    values = (v for node in all_nodes(model.graph) for v in (*node.inputs, *node.outputs))
    return any(element_type(value) in LOW_DTYPES for value in values)


def _widened_table(node: ir.Node) -> ir.Value | None:
    """The 16-bit initializer that a Gather reads as FP32."""
    source = node.inputs[0] if node.op_type == "Gather" and node.domain == "" else None
    cast = None if source is None else source.producer()
    if cast is None or cast.op_type != "Cast":
        return None
    table = cast.inputs[0]
    return table if table is not None and table.is_initializer() and table.dtype in LOW_DTYPES else None


def _low_type(table: ir.Value) -> ir.DataType:
    assert table.dtype is not None
    return table.dtype


def _drop_unread_casts(graph: ir.Graph) -> None:
    unread = [
        node
        for node in graph
        if node.op_type == "Cast"
        and not node.outputs[0].uses()
        and not node.outputs[0].is_graph_output()
        and node.inputs[0] is not None
        and node.inputs[0].is_initializer()
    ]
    graph.remove(unread, safe=True)
