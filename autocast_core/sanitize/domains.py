"""Pass `domains`: the default domain has one name and is imported.

- Imports the default operator domain as ``""``, also where a model or function calls it ``ai.onnx``; onnx_ir does the
  same for the domains of nodes. Where both are imported, the higher version stands.
- A model that does not import it at all gets the opset that conversion works at: Casts need one.
- Does not act on any other domain: an operator's domain is never blanked.
"""

from __future__ import annotations

import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.sanitize.change import Change
from autocast_core.sanitize.opset import minimum_ir_version


def import_default_domain(model: ir.Model, config: ConversionConfig) -> tuple[Change, ...]:
    """Import the default domain under one name; see the module."""
    for imports in (model.opset_imports, *(function.opset_imports for function in model.functions.values())):
        version = imports.pop("ai.onnx", None)
        if version is not None:
            imports[""] = max(version, imports.get("", 0))
    if "" in model.opset_imports:
        return ()
    opset = config.opset or max(precision.minimum_opset for precision in config.low_types)
    model.opset_imports[""] = opset
    model.ir_version = max(model.ir_version, minimum_ir_version(opset))
    return (Change("domains", f"opset {opset} of the default domain is imported"),)
