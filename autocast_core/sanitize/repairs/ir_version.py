"""Pass `ir_version`: a model whose initializers are not all inputs has an IR version that allows that.

- Below IR version 4 ONNX asks for each initializer among the inputs; tools take them away, and runtimes do not mind.
- Does not act on models of IR version 4 and above, nor with ``config.strict_source``.
"""

from __future__ import annotations

import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.sanitize.change import Change

_LOWEST = 4


def allow_constants(model: ir.Model, config: ConversionConfig) -> tuple[Change, ...]:
    """Raise the IR version where initializers are no inputs; see the module."""
    if config.strict_source or model.ir_version >= _LOWEST:
        return ()
    constants = set(model.graph.initializers) - {value.name for value in model.graph.inputs}
    if not constants:
        return ()
    before, model.ir_version = model.ir_version, _LOWEST
    return (Change("ir_version", f"raised from {before} to {_LOWEST}: {len(constants)} initializers are not inputs"),)
