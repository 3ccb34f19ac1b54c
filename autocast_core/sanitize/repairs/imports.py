"""Pass `imports`: the domains that ONNX Runtime knows are imported where their operators are used.

- ``com.microsoft`` has had one version only. Of ``ai.onnx.ml`` the newest version is imported, as ONNX Runtime does.
- Operators that only ``com.microsoft`` has and that lie in ONNX's own domain are moved there.
- Does not act on other domains, nor on calls of model-local functions, nor with ``config.strict_source``.
"""

from __future__ import annotations

import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.graph.walk import all_nodes
from autocast_core.operators import is_microsoft_operator, newest_version
from autocast_core.sanitize.change import Change

_MICROSOFT, _ML = "com.microsoft", "ai.onnx.ml"


def import_known_domains(model: ir.Model, config: ConversionConfig) -> tuple[Change, ...]:
    """Import domains that are missing, and move operators to theirs; see the module."""
    if config.strict_source:
        return ()
    nodes = [node for node in all_nodes(model.graph) if node.op_identifier() not in model.functions]
    moved = [node for node in nodes if not node.domain and is_microsoft_operator(node.op_type)]
    for node in moved:
        node.domain = _MICROSOFT
    changes = []
    if moved:
        operators = ", ".join(dict.fromkeys(node.op_type for node in moved))
        names = tuple(str(node.name) for node in moved)
        changes.append(Change("imports", f"moved to the domain {_MICROSOFT}, which alone has them: {operators}", names))
    used = {node.domain for node in nodes}
    for domain, version in ((_MICROSOFT, 1), (_ML, newest_version(_ML) or 1)):
        if domain in used and domain not in model.opset_imports:
            model.opset_imports[domain] = version
            changes.append(Change("imports", f"opset {version} of {domain} is imported, whose operators are used"))
    return tuple(changes)
