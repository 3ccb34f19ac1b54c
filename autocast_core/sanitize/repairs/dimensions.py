"""Pass `dimensions`: a negative length is an unknown one.

- Old exporters write a dynamic dimension as -1, and ONNX Runtime reads it so. Of the inputs and outputs of the main
  graph and of bodies such a dimension becomes one without length and name.
- Does not act on 0: ONNX Runtime takes that as a length.
- Does not act with ``config.strict_source``, nor on inner values, whose shapes are inferred anew.
"""

from __future__ import annotations

import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.graph.walk import all_graphs
from autocast_core.sanitize.change import Change


def open_negative_dimensions(model: ir.Model, config: ConversionConfig) -> tuple[Change, ...]:
    """Make the negative dimensions of inputs and outputs unknown; see the module."""
    if config.strict_source:
        return ()
    opened = []
    ports = (value for graph in all_graphs(model.graph) for value in (*graph.inputs, *graph.outputs))
    for value in dict.fromkeys(ports):
        if value.shape is not None and any(isinstance(dim, int) and dim < 0 for dim in value.shape):
            value.shape = ir.Shape([None if isinstance(dim, int) and dim < 0 else dim for dim in value.shape])
            opened.append(str(value.name))
    if not opened:
        return ()
    return (Change("dimensions", f"negative dimensions are unknown ones: {', '.join(opened)}"),)
