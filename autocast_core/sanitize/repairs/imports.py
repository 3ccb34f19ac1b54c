"""Pass `imports`: the domain ``com.microsoft`` is imported where its operators are used.

- It has had one version only, so the import says nothing that is not known; ONNX Runtime does without.
- Does not act on other domains, whose operators mean different things in different versions, nor with
  ``config.strict_source``.
"""

from __future__ import annotations

import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.graph.walk import all_nodes
from autocast_core.sanitize.change import Change

_DOMAIN = "com.microsoft"


def import_microsoft_domain(model: ir.Model, config: ConversionConfig) -> tuple[Change, ...]:
    """Import ONNX Runtime's own domain where that is missing; see the module."""
    if config.strict_source or _DOMAIN in model.opset_imports:
        return ()
    if not any(node.domain == _DOMAIN for node in all_nodes(model.graph)):
        return ()
    model.opset_imports[_DOMAIN] = 1
    return (Change("imports", f"opset 1 of {_DOMAIN} is imported, whose operators are used"),)
