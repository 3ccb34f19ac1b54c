"""Pass `domains`: the default domain has one name."""

from __future__ import annotations

import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.sanitize.change import Change


def name_default_domain(model: ir.Model, config: ConversionConfig) -> tuple[Change, ...]:
    """Imports the default operator domain as ``""`` where a model or function calls it ``ai.onnx``, its other name.

    onnx_ir does the same for the domains of nodes. Where both are imported the higher version stands.

    Does not act on any other domain: an operator's domain is never blanked.
    """
    for imports in (model.opset_imports, *(function.opset_imports for function in model.functions.values())):
        version = imports.pop("ai.onnx", None)
        if version is not None:
            imports[""] = max(version, imports.get("", 0))
    return ()
