"""Pass `graph_name`: the main graph and all bodies have a name.

- onnx.checker asks for one, runtimes do not.
- Does not act on graphs that have a name, nor with ``config.strict_source``.
"""

from __future__ import annotations

import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.graph.walk import all_graphs
from autocast_core.sanitize.change import Change


def name_graphs(model: ir.Model, config: ConversionConfig) -> tuple[Change, ...]:
    """Name the graphs that have no name; see the module."""
    unnamed = [] if config.strict_source else [graph for graph in all_graphs(model.graph) if not graph.name]
    for graph in unnamed:
        graph.name = "main_graph" if graph is model.graph else "body"
    return (Change("graph_name", f"named {len(unnamed)} graphs that had no name"),) if unnamed else ()
