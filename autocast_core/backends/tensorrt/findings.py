"""What TensorRT's events say of an ONNX model: findings, layers and types, traced back to its nodes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import onnx_ir as ir

from autocast_core.config import Precision
from autocast_core.engine.validation import Finding, LayerTypes
from autocast_core.graph.walk import is_counted, nodes_with_ids
from autocast_core.operators.types import element_type, type_string
from autocast_core.plan import PrecisionPlan
from autocast_core.text import one_line

_FLOATS = frozenset({"float", "float16", "bfloat16", "double"})
_WORDS = 500
_NODE_IN_LOG = re.compile(r"// (.+?)(?:\n|$)")
"""Builder messages quote the ONNX node after two slashes at the end of a line, if it is not cut off before."""
_TENSOR_IN_LOG = re.compile(r"operation:\s+\d+: \w+: (.+?)-\(")
"""They begin with the tensor that the operation writes."""
_NO_DEVICE = re.compile(r"\s*(?:In function \w+:\s*)?[^.\n]*cudaError 35[^\n]*")
"""Without a GPU every message ends in this, whatever went wrong."""
_REMEDIES: tuple[tuple[str, str], ...] = (
    (
        r"out of memory|outofmemory|insufficient memory|cudaError 2\b",
        "free memory on the GPU, lower the largest shapes of the profiles, or set a workspace limit",
    ),
    (
        r"compute capability|incompatible device|different device|not compatible with this platform",
        "the engine is for another device: build it on this one",
    ),
    (
        r"version tag|older plan file|engine plan file is not compatible|serialized engine/*version",
        "the engine is of another TensorRT version: build it again with this one",
    ),
    (r"driver version is insufficient|cudaError 35\b", "install a newer NVIDIA driver"),
    (r"libcuda\.so", "install the NVIDIA driver"),
    (r"plugin not found|could not find plugin", "give the plugin's library with --trt_plugins"),
    (r"plugin \S+ does not load", "check its path and that it was built for this TensorRT"),
)
"""The remedy for messages that match each pattern."""


def with_remedy(message: str) -> str:
    """The message, and what to do about it where that is known."""
    remedy = next((text for pattern, text in _REMEDIES if re.search(pattern, message, re.IGNORECASE)), None)
    return f"{message}; {remedy}" if remedy else message


def has_remedy(message: str) -> bool:
    """Whether the message is about this machine or its settings, not about the model."""
    return with_remedy(message) != message


def parser_findings(parsed: Mapping[str, Any] | None, model: ir.Model) -> list[Finding]:
    """The parser's errors, each with the id of its node."""
    if parsed is None:
        return []
    ids = {node.name: node_id for node_id, node in nodes_with_ids(model.graph) if node.name}
    nodes = list(model.graph)
    findings = []
    for error in parsed["errors"]:
        inside = 0 <= error["index"] < len(nodes)
        name = error["node"] or (nodes[error["index"]].name if inside else "") or ""
        findings.append(Finding(ids.get(name, name), error["op"], error["code"], with_remedy(short(error["words"]))))
    return findings


def builder_findings(built: Mapping[str, Any] | None, model: ir.Model) -> list[Finding]:
    """Why no engine came out, with the node where a message names one."""
    if built is None or built["ok"]:
        return []
    findings = [
        Finding(*_node_in_message(text, model), "BUILD", with_remedy(short(text)))
        for text in built["errors"]
        if short(text)
    ]
    return findings or [Finding("", "", "BUILD", "no engine came out")]


def _node_in_message(text: str, model: ir.Model) -> tuple[str, str]:
    """The id and operator of the node that a builder's message names, itself or by what it writes; else empty."""
    by_name, by_output = {}, {}
    for node_id, node in nodes_with_ids(model.graph):
        by_name[node.name] = (node_id, node.op_type)
        by_output.update({value.name: (node_id, node.op_type) for value in node.outputs})
    quoted, tensor = _NODE_IN_LOG.search(text), _TENSOR_IN_LOG.search(text)
    found = by_name.get(quoted.group(1).strip()) if quoted else None
    return found or (by_output.get(tensor.group(1)) if tensor else None) or ("", "")


def short(text: str) -> str:
    """A message of TensorRT on one line, without the suffix that every message has where there is no GPU."""
    return one_line(_NO_DEVICE.sub("", text))[:_WORDS]


def network_layers(model: ir.Model, tensors: Mapping[str, Sequence[str]]) -> tuple[LayerTypes, ...]:
    """Per node, the types of those outputs that the network has under their ONNX names."""
    layers = []
    for node_id, node in nodes_with_ids(model.graph):
        outputs = [v for v in node.outputs if v.name in tensors and element_type(v) is not None]
        if outputs:
            found = tuple(tensors[v.name or ""][0] for v in outputs)
            layers.append(
                LayerTypes(node_id, node.op_type, tensors[outputs[0].name or ""][1], found, tuple(map(_name, outputs)))
            )
    return tuple(layers)


def _name(value: ir.Value) -> str:
    dtype = element_type(value)
    return "" if dtype is None else type_string(ir.TensorType(dtype)).removeprefix("tensor(").removesuffix(")")


def type_findings(layers: Iterable[LayerTypes]) -> tuple[Finding, ...]:
    """Nodes whose tensors have other types in the network than in the model."""
    return tuple(
        Finding(
            each.node, each.op, "TYPE", f"TensorRT has {_list(each.types)} where the model says {_list(each.expected)}"
        )
        for each in layers
        if each.types != each.expected
    )


def output_findings(model: ir.Model, outputs: Mapping[str, str]) -> tuple[Finding, ...]:
    """Graph outputs whose declared type TensorRT silently overrides."""
    ids = {
        value.name: (node_id, node.op_type) for node_id, node in nodes_with_ids(model.graph) for value in node.outputs
    }
    findings = []
    for value in model.graph.outputs:
        found, declared = outputs.get(value.name or ""), _name(value)
        if found is not None and declared and found != declared:
            message = f"output {value.name!r} is {found} in TensorRT where the model declares {declared}"
            findings.append(Finding(*ids.get(value.name, ("", "")), "OUTPUT_TYPE", message))
    return tuple(findings)


def plan_findings(layers: Iterable[LayerTypes], plan: PrecisionPlan, model: ir.Model) -> tuple[Finding, ...]:
    """Nodes that write nothing in the precision that the plan gave them."""
    wanted = plan.by_id()
    counted = {node_id for node_id, node in nodes_with_ids(model.graph) if is_counted(node)}
    findings = []
    for each in layers:
        decision = wanted.get(each.node)
        floats = _FLOATS.intersection(each.types)
        if decision is None or each.node not in counted or decision.precision is Precision.NONE or not floats:
            continue
        type_name = {Precision.FP16: "float16", Precision.BF16: "bfloat16"}.get(decision.precision, "float")
        if type_name not in floats:
            message = f"TensorRT writes {_list(sorted(floats))} where the plan says {decision.precision}"
            findings.append(Finding(each.node, each.op, "PLAN", message))
    return tuple(findings)


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
