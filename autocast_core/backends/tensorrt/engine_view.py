"""The view of a built engine: what its build log says, with the ids of the model's nodes, all accounted for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from autocast_core.engine import build_log, inspector
from autocast_core.engine.kernels import EngineDescription
from autocast_core.engine.view import DescribedBy, EngineView
from autocast_core.graph.constants import constant_tensor, small_array
from autocast_core.graph.walk import nodes_with_ids

_LAYOUT = frozenset(
    {"Cast", "CastLike", "Concat", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather", "Identity", "Pad"}
    | {"Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"}
)
"""Operators that compute nothing: a kernel reads or writes another place or type instead."""
_CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
_SHAPES = frozenset({"Constant", "Shape", "Size"})
_NEUTRAL: Mapping[str, float] = {"Mul": 1, "Div": 1, "Pow": 1, "Add": 0, "Sub": 0}
_RIGHT_ONLY = frozenset({"Div", "Pow", "Sub"})
_RANDOM = frozenset(
    {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial"}
)
_MASKS = frozenset({"And", "BitwiseAnd", "BitwiseOr", "Not", "Or", "Where"})
"""Operators that make an additive mask of boolean ones; a fused attention kernel takes those as they are."""

_TOO_LONG = EngineDescription(problem="the build log is too long to be read")


def engine_view(
    event: Mapping[str, Any], model: ir.Model, inspected: str | None = None
) -> tuple[EngineView | None, str | None]:
    """The view of the engine of `model`, and why one of its sources could not be read.

    The sources are the inspector's JSON, where the engine was executed, else the build log in the child's event
    ``engine``. The view is None where neither can be read.
    """
    log = _TOO_LONG if event["left_out"] else build_log.read(event["messages"])
    found = log if inspected is None else inspector.read(inspected)
    if found.problem is None and inspected is not None:
        # Only the log names the members of attention patterns that were not fused.
        return _bound(replace(found, attention=log.attention), model, "inspector"), None
    return (_bound(log, model, "build log") if log.problem is None else None), found.problem


def _bound(log: EngineDescription, model: ir.Model, described_by: DescribedBy) -> EngineView:
    """The view with ids for names. A name that no node of the model has is of one that TensorRT's parser added;
    one that nodes of several bodies have stands for all of them."""
    nodes = dict(nodes_with_ids(model.graph))
    ids: dict[str, list[str]] = {}
    for node_id, node in nodes.items():
        ids.setdefault(node.name or "", []).append(node_id)
    kernels = tuple(
        replace(kernel, nodes=tuple(dict.fromkeys(each for name in kernel.nodes for each in ids.get(name, ()))))
        for kernel in log.kernels
    )
    named = {node_id for kernel in kernels for node_id in kernel.nodes}
    members = (nodes[each].op_type for name in log.attention for each in ids.get(name, ()))
    found = max(sum(kernel.fused_attention for kernel in kernels), sum(op_type == "Softmax" for op_type in members))
    fused = {nodes[node_id] for kernel in kernels if kernel.fused_attention for node_id in kernel.nodes}
    return EngineView(kernels, found, dict(_without_kernel(nodes, named, fused)), described_by)


def _without_kernel(
    nodes: Mapping[str, ir.Node], named: Collection[str], fused: Collection[ir.Node]
) -> Iterator[tuple[str, str]]:
    """Every node, by id, that no kernel names, and why; see `EngineView.without_kernel`.

    `fused` are the nodes that fused attention kernels name.
    """
    known: set[ir.Value] = set()
    for node_id, node in nodes.items():
        constant = _is_known(node, known)
        if constant:
            known.update(node.outputs)
        if node_id not in named:
            yield node_id, "constant" if constant else _reason(node, fused)


def _is_known(node: ir.Node, known: Collection[ir.Value]) -> bool:
    """Whether the builder can compute the node: from constants and shapes, which a profile fixes or the host knows."""
    if node.op_type in _SHAPES:
        return True
    if node.op_type in _RANDOM or node.op_type in _CONTROL_FLOW or not node.inputs:
        return False
    return all(value is None or value in known or constant_tensor(value) is not None for value in node.inputs)


def _reason(node: ir.Node, fused: Collection[ir.Node]) -> str:
    if node.op_type in _CONTROL_FLOW:
        return "control flow"
    if node.op_type in _LAYOUT:
        return "layout"
    if node.op_type in _NEUTRAL and _has_neutral_operand(node):
        return "neutral"
    if node.op_type == "BatchNormalization":
        return "in the weights"
    if node.op_type in _MASKS and _is_mask(node, fused):
        return "mask"
    return "unnamed"


def _is_mask(node: ir.Node, fused: Collection[ir.Node]) -> bool:
    """Whether fused attention kernels are all that reads the node's value, perhaps by way of more such nodes."""
    waiting, seen = [node], {node}
    while waiting:
        readers = {use.node for value in waiting.pop().outputs for use in value.uses()}
        others = readers.difference(fused)
        if not readers or not all(reader.op_type in _MASKS | _LAYOUT for reader in others):
            return False
        waiting += others - seen
        seen |= others
    return True


def _has_neutral_operand(node: ir.Node) -> bool:
    """Whether an operand that is known leaves the other one as it is."""
    operands = node.inputs[1:] if node.op_type in _RIGHT_ONLY else node.inputs
    return any(_is_all(value, _NEUTRAL[node.op_type]) for value in operands)


def _is_all(value: ir.Value | None, wanted: float) -> bool:
    """Whether every element of a constant, or of what ConstantOfShape fills, is `wanted`."""
    array = small_array(value)
    producer = value.producer() if value is not None else None
    if array is None and producer is not None and producer.op_type == "ConstantOfShape":
        fill = producer.attributes.get("value")
        array = np.zeros(1) if fill is None else fill.as_tensor().numpy()
    return array is not None and array.size > 0 and bool(np.all(array == wanted))
