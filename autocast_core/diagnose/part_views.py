"""Parts of a model that run alone: views of its own nodes, so that nothing is copied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import cast

import onnx_ir as ir

from autocast_core.diagnose.matching.segments import reads
from autocast_core.graph.names import unused_names, values_by_name


def part_of(model: ir.Model, outputs: Sequence[ir.Value], inputs: Sequence[ir.Value] = ()) -> ir.Model:
    """The part of `model` that computes `outputs`, values of its main graph, from the graph's inputs and `inputs`.

    A view: its nodes and values are those of `model`, and it is to be run, not changed.
    """
    graph = model.graph
    ports = [*graph.inputs, *inputs]
    nodes, seen = set[ir.Node](), set(ports)
    waiting = [value for value in outputs if value not in seen]
    while waiting:
        node = waiting.pop().producer()
        if node is None or node in nodes:
            continue
        nodes.add(node)
        read = reads(node)
        waiting += [value for value in read if value not in seen]
        seen.update(read)
    weights = [value for value in graph.initializers.values() if value in seen or value in outputs]
    view = ir.GraphView(
        ports,
        outputs,
        nodes=[node for node in graph if node in nodes],
        initializers=weights,
        opset_imports=graph.opset_imports,
        name=graph.name,
        metadata_props=graph.metadata_props,
    )
    return ir.Model(cast(ir.Graph, view), ir_version=model.ir_version)


@contextmanager
def read_from_inputs(model: ir.Model, names: Sequence[str]) -> Iterator[Mapping[str, ir.Value]]:
    """For a while the readers of the values `names` read inputs instead, which are no inputs of the graph yet: by name
    those inputs, or the value itself where it is an input of the graph."""
    graph = model.graph
    values = values_by_name(graph)
    unused = unused_names(graph).numbered("given")
    found: dict[str, ir.Value] = {}
    with ExitStack() as undo:
        for name in names:
            value = values[name]
            if value.is_graph_input():
                found[name] = value
                continue
            found[name] = ir.Value(name=next(unused), type=value.type)
            for node, index in list(value.uses()):
                node.replace_input_with(index, found[name])
                undo.callback(node.replace_input_with, index, value)
        yield found
