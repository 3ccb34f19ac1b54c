"""The estimated kernels of a model, with what they read, write and compute."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import prod

import onnx_ir as ir

from autocast_core.attention import AttentionCore, attention_cores, fusion_obstacles
from autocast_core.engine.view import EngineView, Kernel
from autocast_core.fusion.grouping import Group, kernel_groups
from autocast_core.fusion.node_kinds import NodeKind, node_kind, only_moves
from autocast_core.fusion.readers import narrower, source_of
from autocast_core.graph.walk import all_graphs, nodes_with_ids
from autocast_core.operators import element_type
from autocast_core.sanitize.names import with_named_nodes

Shapes = Mapping[str, tuple[int, ...]]


def estimated_view(model: ir.Model, shapes: Shapes) -> EngineView:
    """The kernels that an engine of `model` is expected to have, in graph order.

    `shapes` has the dimensions of values by name; those of initializers need not be in it. Types are those of the
    model's values: a Cast in the model is none in the engine, but says which type is written. Bytes and operations are
    None where a shape is missing. Nodes without a name of their own are called as `autocast_core.sanitize` calls them.
    """
    model = with_named_nodes(model)
    ids = {node: node_id for node_id, node in nodes_with_ids(model.graph)}
    traffic = _Traffic(shapes)
    kernels, unnamed = list[Kernel](), dict[str, str]()
    found = attention_cores(model.graph)
    nodes = {node_id: node for node, node_id in ids.items()}
    cores = [[nodes[each] for each in _in_kernel(core)] for core in found if not fusion_obstacles(core)]
    for graph in all_graphs(model.graph):
        groups = kernel_groups(list(graph), [core for core in cores if core[0].graph is graph])
        for number, group in enumerate(groups):
            kernels.append(_kernel(group, f"estimated_{number}", ids, traffic))
        grouped = {node for group in groups for node in group.nodes}
        for node in graph:
            if node not in grouped:
                unnamed[ids[node]] = "layout" if node_kind(node) is NodeKind.VIEW else "constant"
    return EngineView(tuple(kernels), len(found), unnamed, described_by="model of fusion")


def _in_kernel(core: AttentionCore) -> tuple[str, ...]:
    """The members of a core, without a scale in front of it, which other kernels take in."""
    ahead = {scale.node for scale in core.scales if scale.place != "behind"}
    return tuple(each for each in core.members if each not in ahead)


def _kernel(group: Group, name: str, ids: Mapping[ir.Node, str], traffic: _Traffic) -> Kernel:
    reads, read_bytes = traffic.read(group)
    writes, written_bytes = traffic.written(group)
    return Kernel(
        name=name,
        kind=_kind(group),
        nodes=tuple(ids[node] for node in group.nodes),
        reads=reads,
        writes=writes,
        read_bytes=read_bytes,
        written_bytes=written_bytes,
        flops=traffic.flops(group),
        operand_type=_operand_type(group),
        only_moves=all(map(only_moves, group.nodes)),
        fused_attention=group.core,
    )


def _kind(group: Group) -> str:
    if group.core:
        return "attention"
    if group.anchor is not None:
        return "convolution" if group.anchor.op_type.startswith("Conv") else "product"
    return group.nodes[0].op_type if group.closed else "generated"


def _operand_type(group: Group) -> str:
    """The widest element type of the operands of the group's products; empty where there are none."""
    operands = [node.inputs[0] for node in group.nodes if node_kind(node) is NodeKind.PRODUCT]
    kinds = [source_of(value).type if group.core else element_type(value) for value in operands if value is not None]
    known = [kind for kind in kinds if kind is not None]
    return max(known, key=lambda kind: kind.itemsize).name.lower() if known else ""


class _Traffic:
    """Bytes and operations of groups, by the shapes of values."""

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes

    def read(self, group: Group) -> tuple[tuple[str, ...], int | None]:
        """The types and the bytes of the tensors that the group reads, each once."""
        members = set(group.nodes)
        operands: dict[tuple[ir.Value, ir.DataType | None], None] = {}
        for node in group.nodes:
            for value in _operands(node):
                source = source_of(value)
                if source.stored.producer() not in members:
                    operands[source.part, source.type] = None
        return self._sum(operands)

    def written(self, group: Group) -> tuple[tuple[str, ...], int | None]:
        """The types and the bytes of the tensors that others read of the group, once for each type."""
        members = set(group.nodes)
        results: dict[tuple[ir.Value, ir.DataType | None], None] = {}
        for node in group.nodes:
            for value in node.outputs:
                for kind in _outside_types(value, members):
                    results[value, kind] = None
        return self._sum(results)

    def flops(self, group: Group) -> int | None:
        """Operations of the products in the group, a multiply-add counted as two; None where there are none."""
        products = [node for node in group.nodes if node_kind(node) is NodeKind.PRODUCT]
        counts = [self._product_flops(node) for node in products]
        return None if not counts or None in counts else sum(count for count in counts if count is not None)

    def _product_flops(self, node: ir.Node) -> int | None:
        out, left = self._dims(node.outputs[0]), self._dims(node.inputs[0])
        if out is None or left is None or node.op_type not in ("MatMul", "Gemm", "Conv", "ConvTranspose"):
            return None
        if node.op_type.startswith("Conv"):
            weight = self._dims(node.inputs[1])
            if weight is None:
                return None
            return 2 * prod(out if node.op_type == "Conv" else left) * prod(weight[1:])
        transposed = node.op_type == "Gemm" and "transA" in node.attributes and node.attributes["transA"].as_int()
        return 2 * prod(out) * (left[0] if transposed else left[-1])

    def _dims(self, value: ir.Value | None) -> tuple[int, ...] | None:
        if value is None:
            return None
        found = self._shapes.get(str(value.name))
        if found is not None:
            return found
        if value.shape is not None and all(isinstance(size, int) for size in value.shape):
            return tuple(int(size) for size in value.shape)  # type: ignore[arg-type]
        source = source_of(value)
        if source.stored is not value and source.part is source.stored:
            return self._shapes.get(str(source.stored.name))
        casts = (node.outputs[0] for node, _ in value.uses() if node.op_type == "Cast")
        return next((shape for each in casts if (shape := self._shapes.get(str(each.name))) is not None), None)

    def _sum(self, tensors: Iterable[tuple[ir.Value, ir.DataType | None]]) -> tuple[tuple[str, ...], int | None]:
        total: int | None = 0
        types = []
        for value, kind in tensors:
            types.append("" if kind is None else kind.name.lower())
            dims = self._dims(value)
            size = None if dims is None or kind is None else int(-(-prod(dims) * kind.bitwidth // 8))
            total = None if total is None or size is None else total + size
        return tuple(types), total


def _operands(node: ir.Node) -> Iterator[ir.Value]:
    """The tensors that a kernel of the node reads: shapes, axes and other small whole numbers are none."""
    for index, value in enumerate(node.inputs):
        if value is None or (index > 0 and element_type(value) == ir.DataType.INT64 and node.op_type != "Gather"):
            continue
        yield value


def _outside_types(value: ir.Value, members: set[ir.Node]) -> Iterator[ir.DataType | None]:
    """The element types in which others read the value, each as the narrowest of the Casts on the way."""
    if value.is_graph_output():
        yield element_type(value)
    for node, index in value.uses():
        if node_kind(node) is NodeKind.VIEW:
            for output in node.outputs:
                yield from (narrower(kind, element_type(value)) for kind in _outside_types(output, members))
        elif node not in members:
            yield source_of(node.inputs[index]).type  # type: ignore[arg-type]
