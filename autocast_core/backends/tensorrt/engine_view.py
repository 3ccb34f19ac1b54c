"""The view of a built engine: what its build log says, with the ids of the model's nodes, all accounted for."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from autocast_core.engine import build_log, inspector
from autocast_core.engine.kernels import EngineDescription
from autocast_core.engine.view import DescribedBy, EngineView
from autocast_core.graph.constants import constant_tensor, small_array
from autocast_core.graph.walk import nodes_with_ids
from autocast_core.model.value_numbers import node_key, weight_key
from autocast_core.sanitize.names import with_named_nodes

_LAYOUT = frozenset(
    {"Cast", "CastLike", "Concat", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather", "Identity", "Pad"}
    | {"Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"}
)
"""Operators that compute nothing: a kernel reads or writes another place or type instead."""
_CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
_SHAPES = frozenset({"Constant", "Shape", "Size"})
_NEUTRAL: Mapping[str, float] = {"Mul": 1, "Div": 1, "Pow": 1, "Add": 0, "Sub": 0}
_RIGHT_ONLY = frozenset({"Div", "Pow", "Sub"})
_VARIADIC = frozenset({"Max", "Mean", "Min", "Sum"})
"""Operators that change nothing where they have one operand."""
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
    one that several nodes have stands for all of them. Nodes without a name of their own are called as
    `autocast_core.sanitize` calls them."""
    nodes, ids = dict[ir.Node, str](), dict[str, list[str]]()
    renamed = nodes_with_ids(with_named_nodes(model).graph)
    for (_, node), (node_id, _) in zip(nodes_with_ids(model.graph), renamed, strict=True):
        nodes[node] = node_id
        for name in _names_in_log(node, model):
            ids.setdefault(name, []).append(node_id)
    kernels = tuple(
        replace(kernel, nodes=tuple(dict.fromkeys(each for name in kernel.nodes for each in ids.get(name, ()))))
        for kernel in log.kernels
    )
    named = {node_id for kernel in kernels for node_id in kernel.nodes}
    operators = {node_id: node.op_type for node, node_id in nodes.items()}
    members = (operators[each] for name in log.attention for each in ids.get(name, ()))
    found = max(sum(kernel.fused_attention for kernel in kernels), sum(op_type == "Softmax" for op_type in members))
    fused = {node_id for kernel in kernels if kernel.fused_attention for node_id in kernel.nodes}
    return EngineView(kernels, found, dict(_without_kernel(nodes, named, fused)), described_by)


def _names_in_log(node: ir.Node, model: ir.Model) -> Iterator[str]:
    """What TensorRT may call the node: its name, one after its first output where it has none, and of a call of a
    model-local function the nodes in it."""
    yield node.name or f"node_of_{node.outputs[0].name if node.outputs else ''}"
    function = model.functions.get(node.op_identifier())
    for inner in function or ():
        yield from _names_in_log(inner, model)


def _without_kernel(
    nodes: Mapping[ir.Node, str], named: Collection[str], fused: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Every node, by id, that no kernel names, and why; see `EngineView.without_kernel`.

    `fused` are the ids that fused attention kernels name.
    """
    known: set[ir.Value] = set()
    unused = _unused([*nodes])
    twins = _twins(nodes)
    computed = {twins[node] for node, node_id in nodes.items() if node_id in named}
    cores = {node for node, node_id in nodes.items() if node_id in fused}
    for node, node_id in nodes.items():
        constant = _is_known(node, known)
        if constant:
            known.update(node.outputs)
        if node_id not in named:
            reason = "constant" if constant else "unused" if node in unused else _reason(node, cores)
            yield node_id, "same as another" if reason == "unnamed" and twins[node] in computed else reason


def _unused(nodes: Sequence[ir.Node]) -> set[ir.Node]:
    """The nodes, given in graph order, whose results nothing needs."""
    found: set[ir.Node] = set()
    for node in reversed(nodes):
        uses = (use.node for value in node.outputs for use in value.uses())
        if not any(value.is_graph_output() for value in node.outputs) and found.issuperset(uses):
            found.add(node)
    return found


def _twins(nodes: Iterable[ir.Node]) -> dict[ir.Node, ir.Node]:
    """For each node, given in graph order, the first one that computes the same, perhaps itself."""
    first: dict[Hashable, ir.Node] = {}
    weights: dict[Hashable, ir.Value] = {}
    same: dict[ir.Value, ir.Value] = {}
    found: dict[ir.Node, ir.Node] = {}
    for node in nodes:
        inputs = [
            None if value is None else same.get(value) or weights.setdefault(weight_key(value), value)
            for value in node.inputs
        ]
        key = id(node) if node.op_type in _RANDOM else node_key(node, inputs)
        found[node] = first.setdefault(key, node)
        same.update(zip(node.outputs, found[node].outputs, strict=True))
    return found


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
    if (node.op_type in _VARIADIC and len(node.inputs) == 1) or (node.op_type in _NEUTRAL and _has_neutral(node)):
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


def _has_neutral(node: ir.Node) -> bool:
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
