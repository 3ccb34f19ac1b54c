"""Pass `dimensions`: a negative length is an unknown one.

- Old exporters write a dynamic dimension as -1, and ONNX Runtime reads it so. Of the main graph's inputs and outputs
  such a dimension becomes one without length and name.
- Does not act on 0: ONNX Runtime takes that as a length.
- Does not act with ``config.strict_source``, nor on inner values, whose shapes are inferred anew.
"""

from __future__ import annotations

import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.sanitize.change import Change


def open_negative_dimensions(model: ir.Model, config: ConversionConfig) -> tuple[Change, ...]:
    """Make the negative dimensions of inputs and outputs unknown; see the module."""
    if config.strict_source:
        return ()
    opened = []
    for value in dict.fromkeys((*model.graph.inputs, *model.graph.outputs)):
        if value.shape is not None and any(isinstance(dim, int) and dim < 0 for dim in value.shape):
            value.shape = ir.Shape([None if isinstance(dim, int) and dim < 0 else dim for dim in value.shape])
            opened.append(str(value.name))
    if not opened:
        return ()
    return (Change("dimensions", f"negative dimensions are unknown ones: {', '.join(opened)}"),)
