"""The converted model for Netron: each node says in its metadata what it computes in, why, and what error it makes.

Netron has no overlays, but shows metadata of nodes. Weights are left out: what is written is the graph, whose larger
initializers name a file that does not exist.
"""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from autocast_core.graph.walk import all_graphs, nodes_with_ids
from autocast_core.plan import PrecisionPlan
from autocast_core.search.attribution import Attribution
from autocast_core.text import visible

PREFIX = "autocast."
_SHOWN_BYTES = 256
"""Initializers up to this size keep their values, which are shapes, axes and scales mostly."""


def annotated(converted: ir.Model, plan: PrecisionPlan, attribution: Attribution | None = None) -> ir.Model:
    """A copy of `converted` without large weights, with ``autocast.precision``, ``.rule``, ``.reason`` and
    ``.error_share`` in the metadata of each node that `plan` decides."""
    model = converted.clone()
    decisions = {decision.id: decision for decision in plan.nodes}
    shares = {node.id: node.share for node in attribution.nodes} if attribution is not None else {}
    for node_id, node in nodes_with_ids(model.graph):
        decision = decisions.get(node_id)
        if decision is None:
            continue
        said = {"precision": str(decision.precision), "rule": decision.rule, "reason": visible(decision.reason, 400)}
        if node_id in shares:
            said["error_share"] = f"{shares[node_id]:.3%}"
        node.metadata_props.update({f"{PREFIX}{key}": text for key, text in said.items() if text})
    for graph in all_graphs(model.graph):
        for value in graph.initializers.values():
            if value.const_value is not None and value.const_value.nbytes > _SHOWN_BYTES:
                value.const_value = _left_out(value.const_value)
    return model


def _left_out(tensor: ir.TensorProtocol) -> ir.ExternalTensor:
    shape = ir.Shape([int(extent) for extent in tensor.shape.numpy()])
    return ir.ExternalTensor(
        Path("weights-left-out"), 0, tensor.nbytes, tensor.dtype, shape=shape, name=tensor.name or ""
    )
