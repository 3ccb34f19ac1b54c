"""Raises the opset of nodes one by one, so that nothing else of the model passes through protobuf.

Every node whose operator has another definition in the target opset is copied into one flat throw-away model, each
with inputs and outputs of its own, small constants included. onnx.version_converter converts that model in one call
(https://onnx.ai/onnx/api/version_converter.html); what it made of a node takes the node's place. Weights, names,
metadata, bodies and all other nodes stay as they are. Its adapters look at one node at a time, so nothing is lost.
It converts every operator of onnx's own test cases, which onnxscript's converter (opsets 18 to 25) does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import onnx
import onnx_ir as ir

from autocast_core.errors import UnconvertibleError
from autocast_core.graph.constants import SMALL_TENSOR_BYTES, constant_tensor
from autocast_core.graph.names import UnusedNames
from autocast_core.sanitize.batched_scan import FIRST_OPSET, has_lengths, split_batch
from autocast_core.sanitize.corrections import correct, stand_in
from autocast_core.text import one_line

_KEPT = frozenset({"Constant", "If", "Loop", "Scan", "SequenceMap", "Optional"})
"""Later definitions of these only admit more types; Scan of opset 8, which differs, is split before."""


def upgrade_nodes(
    nodes: Iterable[ir.Node], source: int, target: int, node_names: UnusedNames, value_names: UnusedNames
) -> tuple[ir.Node, ...]:
    """Converts nodes of the default domain from opset `source` to the higher opset `target`, in place.

    The node of the same operator (else the last one) keeps the name of the node it came from; all keep its metadata.
    Returns the nodes that were put in the place of others, not those that meant the same in both opsets.

    Does not act on nodes of other domains, on operators that onnx does not know at `source`, or on model-local calls.
    Raises UnconvertibleError, naming the operator, where there is no equivalent in the target opset.
    """
    nodes = list(nodes)
    split = [node for node in nodes if _is_batched_scan(node, source, target)]
    for node in split:
        if has_lengths(node):
            raise _refusal(node, source, target, "its sequence lengths are gone since opset 9")
        split_batch(node, node_names, value_names)
    changed = [node for node in nodes if _definition_differs(node, source, target)]
    if not changed:
        return tuple(split)
    items = [_Item(index, node) for index, node in enumerate(changed)]
    converted = _convert(items, source, target)
    replaced: list[ir.Node] = []
    outputs = [output.name for output in converted.graph.output]
    producers = {name: node for node in converted.graph.node for name in node.output if name}
    initializers = {tensor.name: tensor for tensor in converted.graph.initializer}
    start = 0
    for item in items:
        ends = outputs[start : start + len(item.outputs)]
        start += len(item.outputs)
        protos = _nodes_behind(ends, producers)
        correct(item.node.op_type, source, target, protos)
        if not _is_same(item, protos, ends):
            replaced += _replace(item, protos, ends, initializers, node_names, value_names)
    return (*split, *replaced)


def _definition_differs(node: ir.Node, source: int, target: int) -> bool:
    if node.domain != "" or node.op_type in _KEPT:
        return False
    before, after = _since(node.op_type, source), _since(node.op_type, target)
    return before is not None and before != after


def _is_batched_scan(node: ir.Node, source: int, target: int) -> bool:
    return node.domain == "" and node.op_type == "Scan" and source < FIRST_OPSET <= target


def _since(op_type: str, opset: int) -> int | None:
    try:
        return int(onnx.defs.get_schema(op_type, opset, "").since_version)
    except onnx.defs.SchemaError:
        return None


@dataclass(frozen=True)
class _Item:
    """One node and the names of its operands in the throw-away model."""

    index: int
    node: ir.Node

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs; an omitted one is empty. A value read twice has one name."""
        values = self.node.inputs
        first = {id(value): position for position, value in reversed(list(enumerate(values)))}
        return [f"i{self.index}_{first[id(value)]}" if value is not None else "" for value in values]

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs that exist."""
        return [name for name in self.all_outputs if name]

    @property
    def all_outputs(self) -> list[str]:
        """Names of the outputs; an omitted one is empty."""
        return [f"o{self.index}_{j}" if value.name else "" for j, value in enumerate(self.node.outputs)]

    def proto(self) -> onnx.NodeProto:
        """The node alone, with these names."""
        proto = onnx.NodeProto(op_type=self.node.op_type)
        proto.input.extend(self.inputs)
        outputs = self.all_outputs
        while outputs and not outputs[-1]:
            outputs.pop()
        proto.output.extend(outputs)
        proto.attribute.extend(
            ir.serde.serialize_attribute(attribute)
            for attribute in self.node.attributes.values()
            if not attribute.is_ref()
        )
        return proto


def _convert(items: Sequence[_Item], source: int, target: int) -> onnx.ModelProto:
    try:
        return _run_converter(items, source, target)
    except Exception as error:
        for item in items:
            try:
                _run_converter([item], source, target)
            except Exception as cause:
                raise _refusal(item.node, source, target, str(cause)) from cause
        raise UnconvertibleError(f"cannot raise the opset from {source} to {target}: {one_line(error)}") from error


def _refusal(node: ir.Node, source: int, target: int, why: str) -> UnconvertibleError:
    return UnconvertibleError(
        f"node {node.name!r} ({node.op_type}) cannot be raised from opset {source} to {target}:"
        f" {one_line(why) or 'no reason given'}; export the model at opset {target} or give --opset {source}"
    )


def _run_converter(items: Sequence[_Item], source: int, target: int) -> onnx.ModelProto:
    graph = onnx.GraphProto(name="nodes")
    for item in items:
        for name, value in dict(zip(item.inputs, item.node.inputs, strict=True)).items():
            if value is not None:
                _add_operand(graph, name, value)
        graph.node.append(item.proto())
        graph.node[-1].op_type = stand_in(item.node.op_type, source, target)
        for name, value in zip(item.all_outputs, item.node.outputs, strict=True):
            if name:
                graph.output.append(_value_info(name, value))
    model = onnx.ModelProto(ir_version=max(8, onnx.helper.find_min_ir_version_for([], True)), graph=graph)
    model.opset_import.append(onnx.helper.make_opsetid("", source))
    return onnx.version_converter.convert_version(model, target)


def _add_operand(graph: onnx.GraphProto, name: str, value: ir.Value) -> None:
    tensor = constant_tensor(value)
    if tensor is None or tensor.nbytes > SMALL_TENSOR_BYTES or tensor.dtype == ir.DataType.STRING:
        graph.input.append(_value_info(name, value))
        return
    proto = ir.serde.serialize_tensor(ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=name))
    graph.initializer.append(proto)


def _value_info(name: str, value: ir.Value) -> onnx.ValueInfoProto:
    info = onnx.ValueInfoProto(name=name)
    if value.type is not None:
        ir.serde.serialize_type_into(info.type, value.type)
        if value.shape is not None:
            ir.serde.serialize_shape_into(info.type, value.shape)
    return info


def _nodes_behind(ends: Sequence[str], producers: dict[str, onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes that compute `ends`, in an order that they can run in."""
    ordered: dict[int, onnx.NodeProto] = {}
    pending: list[tuple[str, bool]] = [(name, False) for name in reversed(ends)]
    while pending:
        name, ready = pending.pop()
        node = producers.get(name)
        if node is None or id(node) in ordered:
            continue
        if ready:
            ordered[id(node)] = node
        else:
            pending.append((name, True))
            pending.extend((operand, False) for operand in reversed(node.input))
    return list(ordered.values())


def _is_same(item: _Item, protos: Sequence[onnx.NodeProto], ends: Sequence[str]) -> bool:
    if len(protos) != 1 or list(ends) != item.outputs:
        return False
    before, after = item.proto(), protos[0]
    return (
        before.op_type == after.op_type
        and _trimmed(before.input) == _trimmed(after.input)
        and list(before.output) == list(after.output)
        and {a.name: a for a in before.attribute} == {a.name: a for a in after.attribute}
    )


def _trimmed(names: Sequence[str]) -> list[str]:
    names = list(names)
    while names and not names[-1]:
        names.pop()
    return names


def _replace(
    item: _Item,
    protos: Sequence[onnx.NodeProto],
    ends: Sequence[str],
    initializers: dict[str, onnx.TensorProto],
    node_names: UnusedNames,
    value_names: UnusedNames,
) -> list[ir.Node]:
    node = item.node
    graph = node.graph
    if graph is None:
        raise ValueError(f"node {node.name!r} belongs to no graph")
    known: dict[str, ir.Value | None] = {"": None, **dict(zip(item.inputs, node.inputs, strict=True))}
    main = max(range(len(protos)), key=lambda k: (protos[k].op_type == node.op_type, k))
    stem = next((str(value.name) for value in node.outputs if value.name), str(node.name))
    made: list[ir.Node] = []
    for position, proto in enumerate(protos):
        for name in proto.input:
            if name not in known:
                constant = _constant(initializers[name], node, node_names, value_names)
                made.append(constant)
                known[name] = constant.outputs[0]
        name = str(node.name) if position == main else node_names.fresh(f"{node.name}_{proto.op_type}")
        new = _node(proto, name, node, [known[operand] for operand in proto.input])
        made.append(new)
        for end, value in zip(proto.output, new.outputs, strict=True):
            value.name = value_names.fresh(f"{stem}_{proto.op_type}") if end and end not in ends else ""
            known[end] = value
    old = [value for value in node.outputs if value.name]
    new_values = [known[end] for end in ends]
    for before, after in zip(old, new_values, strict=True):
        if after is None:
            raise ValueError(f"node {node.name!r} lost an output")
        after.doc_string = before.doc_string
        after.metadata_props.update(before.metadata_props)
        after.meta.update(before.meta)
    ir.convenience.replace_nodes_and_values(graph, node, [node], made, old, new_values)  # type: ignore[arg-type]
    return made


def _node(proto: onnx.NodeProto, name: str, source: ir.Node, inputs: Sequence[ir.Value | None]) -> ir.Node:
    return ir.Node(
        "",
        proto.op_type,
        inputs,
        [ir.serde.deserialize_attribute(attribute) for attribute in proto.attribute],
        num_outputs=len(proto.output),
        name=name,
        doc_string=source.doc_string,
        metadata_props=dict(source.metadata_props),
    )


def _constant(tensor: onnx.TensorProto, source: ir.Node, node_names: UnusedNames, value_names: UnusedNames) -> ir.Node:
    name = value_names.fresh(f"{source.name}_constant")
    node = ir.Node(
        "",
        "Constant",
        [],
        [ir.AttrTensor("value", ir.serde.deserialize_tensor(tensor))],
        num_outputs=1,
        name=node_names.fresh(f"{source.name}_Constant"),
        metadata_props=dict(source.metadata_props),
    )
    node.outputs[0].name = name
    node.outputs[0].type = ir.TensorType(ir.DataType(tensor.data_type))
    node.outputs[0].shape = ir.Shape(tensor.dims)
    return node
