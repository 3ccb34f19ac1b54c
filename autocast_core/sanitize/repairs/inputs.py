"""Pass `inputs`: an input without a shape has the rank that ``config.shapes`` gives it.

- ONNX Runtime takes inputs of any rank; onnx.checker asks for a shape. The dimensions stay unknown.
- Does not act on inputs that ``config.shapes`` does not name, nor with ``config.strict_source``.
"""

from __future__ import annotations

import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.sanitize.change import Change


def declare_ranks(model: ir.Model, config: ConversionConfig) -> tuple[Change, ...]:
    """Declare the ranks of inputs that have no shape; see the module."""
    if config.strict_source:
        return ()
    found = [value for value in model.graph.inputs if value.shape is None and str(value.name) in config.shapes]
    for value in found:
        value.shape = ir.Shape([None] * len(config.shapes[str(value.name)]))
    if not found:
        return ()
    names = ", ".join(str(value.name) for value in found)
    return (Change("inputs", f"inputs without a shape have the rank that the option shapes gives: {names}"),)
