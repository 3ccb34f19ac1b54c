"""Pass `plugins`: TensorRT's plugins lie in the domain ``trt.plugins``.

- TensorRT finds a plugin by its operator alone, so files name plugins in ONNX's own domain, or in one without an
  import. onnx.checker refuses both; AutoCast moves them to ``trt.plugins`` too, where ONNX Runtime's TensorRT provider
  has them.
- Moves every operator of ONNX's own domain that neither ONNX in any version nor ONNX Runtime has, or whose name ends in
  ``_TRT``, and every operator of a domain without an import that nothing describes.
- Does not act on calls of model-local functions, nor with ``config.strict_source``, nor where there are
  ``config.custom_op_libraries``, whose operators have domains of their own.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.graph.walk import all_graphs, all_nodes
from autocast_core.operators import first_opset, is_microsoft_operator, is_runtime_operator, newest_version
from autocast_core.sanitize.change import Change
from autocast_core.text import how_many

PLUGINS = "plugins"
"""The name of the pass, which is the step of its changes."""
PLUGIN_DOMAIN = "trt.plugins"
_MICROSOFT = "com.microsoft"


def move_plugins(model: ir.Model, config: ConversionConfig) -> tuple[Change, ...]:
    """Move custom operators to the domain of TensorRT's plugins; see the module."""
    if config.strict_source or config.custom_op_libraries:
        return ()
    described: dict[tuple[str, str], bool] = {}

    def is_misplaced(node: ir.Node, imported: Iterable[str]) -> bool:
        key = (node.domain, node.op_type)
        if key not in described:
            described[key] = _is_described(*key, imported)
        return not described[key] and node.op_identifier() not in model.functions

    moved = [node for node in all_nodes(model.graph) if is_misplaced(node, model.opset_imports)]
    if moved:
        model.opset_imports.setdefault(PLUGIN_DOMAIN, 1)
    for function in model.functions.values():
        described.clear()
        inside = [n for each in all_graphs(function.graph) for n in each if is_misplaced(n, function.opset_imports)]
        if inside:
            function.opset_imports.setdefault(PLUGIN_DOMAIN, 1)
            model.opset_imports.setdefault(PLUGIN_DOMAIN, 1)
        moved += inside
    for node in moved:
        node.domain = PLUGIN_DOMAIN
    if not moved:
        return ()
    operators = ", ".join(dict.fromkeys(node.op_type for node in moved))
    count = how_many(len(moved), "node is", "nodes are")
    detail = f"{count} taken for TensorRT plugins and moved to the domain {PLUGIN_DOMAIN}: {operators}"
    return (Change(PLUGINS, detail, tuple(str(node.name) for node in moved)),)


def _is_described(domain: str, op_type: str, imported: Iterable[str]) -> bool:
    """Whether ONNX, ONNX Runtime or an import says what the operator is."""
    if domain:
        return domain in imported or domain == _MICROSOFT or newest_version(domain) is not None
    if op_type.endswith("_TRT"):
        return False
    return first_opset(op_type) is not None or is_runtime_operator(op_type) or is_microsoft_operator(op_type)
