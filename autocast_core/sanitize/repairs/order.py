"""Pass `order`: nodes stand behind those that make what they read.

- Editors of graphs append nodes, and ONNX Runtime sorts what it reads; onnx.checker asks for the order.
- Sorts the main graph and all bodies; names and edges stay.
- Does not act on graphs in order or with a cycle, nor with ``config.strict_source``.
"""

from __future__ import annotations

import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.graph.annotations import raw_attributes
from autocast_core.graph.walk import all_graphs, all_nodes, bodies
from autocast_core.sanitize.change import Change


def sort_nodes(model: ir.Model, config: ConversionConfig) -> tuple[Change, ...]:
    """Put the nodes into an order that they can run in; see the module."""
    if config.strict_source or all(map(_is_sorted, all_graphs(model.graph))):
        return ()
    try:
        model.graph.sort()
    except ValueError:  # a cycle
        return ()
    return (Change("order", "put the nodes into an order that they can run in"),)


def _is_sorted(graph: ir.Graph) -> bool:
    """Whether each node of `graph` stands behind those of the graph whose outputs it or a body of it reads."""
    seen: set[ir.Node] = set()
    for node in graph:
        inner = [each for _, body in bodies(node) for each in all_nodes(body)] if raw_attributes(node) else []
        makers = (value.producer() for each in (node, *inner) for value in each.inputs if value is not None)
        if any(maker is not None and maker.graph is graph and maker not in seen for maker in makers):
            return False
        seen.add(node)
    return True
