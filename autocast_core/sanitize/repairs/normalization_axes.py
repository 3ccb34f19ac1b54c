"""Pass `normalization_axes`: MeanVarianceNormalization states the axes that it has by default.

- Without them onnx (1.23) cannot make the operator's function body, and its full check refuses a model that runs.
- Does not act on nodes that state their axes, nor with ``config.strict_source``.
"""

from __future__ import annotations

import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.graph.walk import all_nodes
from autocast_core.sanitize.change import Change
from autocast_core.text import how_many

_DEFAULT = (0, 2, 3)
"""ONNX operator MeanVarianceNormalization, attribute axes."""


def state_axes(model: ir.Model, config: ConversionConfig) -> tuple[Change, ...]:
    """Give the nodes without axes the default ones; see the module."""
    if config.strict_source:
        return ()
    found = [
        node
        for node in all_nodes(model.graph)
        if node.op_type == "MeanVarianceNormalization" and not node.domain and "axes" not in node.attributes
    ]
    for node in found:
        node.attributes["axes"] = ir.AttrInt64s("axes", _DEFAULT)
    if not found:
        return ()
    names = tuple(str(node.name) for node in found)
    return (Change("normalization_axes", f"stated the default axes of {how_many(len(found), 'node')}", names),)
