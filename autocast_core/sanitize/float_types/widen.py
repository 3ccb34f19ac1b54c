"""Pass `widen`: what the source stores in 16 bits of another type than the conversion's is FP32, and is decided anew.

- Makes FP32 of every value, weight and attribute of the other 16-bit types (`float_types`), without loss: FP32 holds
  every number of both. Casts that change nothing after that go, and with them roundings that the source had between
  FP32 nodes.
- Forgets which nodes an earlier conversion kept in FP32: the range or precision that they needed was another type's.
- A graph input or output that must keep its type (``config.keeps_io_type``) keeps it.
- Does not act on 16-bit types that the conversion lowers to, which rule `already_low` keeps, nor on a model where only
  Casts make and read the other types: these round on purpose, and stay.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.graph.annotations import forget_kept_nodes
from autocast_core.graph.walk import all_graphs, all_nodes, is_counted
from autocast_core.number_formats import LOW_DTYPES
from autocast_core.sanitize.change import Change
from autocast_core.sanitize.float_types.replace_floats import is_pinned, replace_floats, take_place_as_output

STEP = "widen"


def widen_other_types(model: ir.Model, config: ConversionConfig) -> tuple[Change, ...]:
    """Widen what has a 16-bit type that is not one of `config`; see the module."""
    others = LOW_DTYPES - {precision.dtype for precision in config.low_types}
    return widen(model, others, config.keeps_io_type) if computes_in(model, others) else ()


def computes_in(model: ir.Model, types: Collection[ir.DataType]) -> bool:
    """Whether a node that may be FP32 as well reads or makes a value of `types`."""
    if not any(_holds(graph, types) for graph in all_graphs(model.graph)):
        return False  # nearly always: each value is looked at once here, and once for each reader below
    return any(
        is_counted(node)
        and not is_pinned(node)
        and any(value is not None and value.dtype in types for value in (*node.inputs, *node.outputs))
        for node in all_nodes(model.graph)
    )


def widen(model: ir.Model, types: Collection[ir.DataType], keeps_io_type: Callable[[str], bool]) -> tuple[Change, ...]:
    """Put FP32 in the place of the 16-bit `types`, but for the inputs and outputs that keep theirs; see the module."""
    done = replace_floats(model, types, keeps_io_type)
    if done is None:
        return ()
    casts = sum(map(_dropped, list(all_nodes(model.graph))))
    forget_kept_nodes(model)
    detail = f"{done.values} 16-bit values of the source are FP32, {casts} Casts are gone"
    if done.left:
        detail += f"; {done.left} keep their type, with Casts where they meet FP32"
    return (Change(STEP, detail, done.nodes),)


def _holds(graph: ir.Graph, types: Collection[ir.DataType]) -> bool:
    """Whether a value of `graph` has one of `types`."""
    if any(value.dtype in types for value in (*graph.inputs, *graph.initializers.values())):
        return True
    for node in graph:
        for value in node.outputs:
            kind = value.type
            if kind is not None and kind.dtype in types:
                return True
    return False


def _dropped(node: ir.Node) -> bool:
    """Remove a Cast of FP32 to FP32, where something else can be the output that it makes; whether it is gone."""
    if node.domain != "" or node.op_type != "Cast" or node.graph is None:
        return False
    source, output = node.inputs[0], node.outputs[0]
    if source is None or not source.dtype == output.dtype == ir.DataType.FLOAT:
        return False
    if output.is_graph_output():
        producer = source.producer()
        if producer is None or producer.graph is not node.graph or source.is_graph_output():
            return False
        take_place_as_output(output, source)
    for reader, index in list(output.uses()):
        reader.replace_input_with(index, source)
    node.replace_input_with(0, None)
    node.graph.remove(node)
    return True
