"""Pass `early_operators`: the opset is one that has the operators which the model uses.

- ONNX Runtime takes LayerNormalization at any opset, as its own optimizer writes it; ONNX has it from opset 17 on. The
  model is raised to the opset that has it, all other operators with it.
- Does not act on other operators, which no runtime takes at an earlier opset, nor with ``config.strict_source``.
"""

from __future__ import annotations

import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.graph.walk import all_nodes
from autocast_core.operators import first_opset
from autocast_core.sanitize.change import Change
from autocast_core.sanitize.opset import raise_nodes

_TAKEN_EARLY = ("LayerNormalization",)


def raise_for_early_operators(model: ir.Model, config: ConversionConfig) -> tuple[Change, ...]:
    """Raise the opset where an operator of a later one is used; see the module. UnconvertibleError as `raise_nodes`."""
    own = model.opset_imports.get("")
    if own is None or config.strict_source or model.functions:
        return ()
    used = {node.op_type for node in all_nodes(model.graph) if not node.domain and node.op_type in _TAKEN_EARLY}
    needed = max((first_opset(op_type) or own for op_type in used), default=own)
    if needed <= own:
        return ()
    raise_nodes(model, needed)
    detail = f"opset raised from {own} to {needed}, the first that has {', '.join(sorted(used))}"
    return (Change("early_operators", detail),)
