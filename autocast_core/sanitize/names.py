"""Pass `names`: every node and every value can be told from all others by its name.

- Names unnamed nodes and values, and renames duplicates, over the main graph and all bodies. An unnamed node becomes
  ``OPERATOR_k``, numbered as AutoCast numbers them, so that patterns taken from its log match: k begins with the number
  of different names in the main graph, the empty one included, and rises where the name is in use. Of several nodes
  with one name the first keeps it.
- Values of bodies that shadow or repeat a name get ``NAME_k``; quantization annotations follow.
- Does not act on names that are unique already, nor ever on the names of the main graph's inputs, outputs and
  initializers. An omitted optional output keeps its empty name.
"""

from __future__ import annotations

import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.graph.annotations import quantization_annotation, set_quantization_annotation
from autocast_core.graph.names import UnusedNames, defined_values, rename
from autocast_core.graph.walk import all_graphs, all_nodes, bodies, nodes_with_ids
from autocast_core.sanitize.change import Change
from autocast_core.text import how_many


def give_unique_names(model: ir.Model, config: ConversionConfig) -> tuple[Change, ...]:
    """Make the names of nodes and of values unique; see the module."""
    return (*_name_nodes(model.graph), *_name_values(model))


def name_function_nodes(function: ir.Function) -> None:
    """Name the unnamed nodes of a model-local function, so that their inlined copies can be told apart."""
    _name_nodes(function.graph)


def with_named_nodes(model: ir.Model) -> ir.Model:
    """`model`; where nodes of a graph have no name, or share one, a copy in which nodes are named as by the pass."""
    ids = [node_id for node_id, _ in nodes_with_ids(model.graph)]
    if len({*ids}) == len(ids) and not any(node_id.endswith("/") for node_id in ids):
        return model
    copy = model.clone()
    _name_nodes(copy.graph)
    return copy


def _name_nodes(graph: ir.Graph) -> tuple[Change, ...]:
    nodes = [*graph, *(node for node in all_nodes(graph) if node.graph is not graph)]
    if _are_unique([node.name for node in nodes]):
        return ()
    names = UnusedNames(node.name for node in nodes)
    seen: set[str] = set()
    number = len({node.name or "" for node in graph})
    named, renamed = [], []
    for node in nodes:
        if not node.name:
            while not names.claim(f"{node.op_type}_{number}"):
                number += 1
            node.name = f"{node.op_type}_{number}"
            named.append(node.name)
        elif node.name in seen:
            node.name = names.fresh(node.name)
            renamed.append(node.name)
        seen.add(node.name)
    changes = []
    if named:
        changes.append(Change("names", f"named {how_many(len(named), 'unnamed node')}", tuple(named)))
    if renamed:
        changes.append(Change("names", f"renamed {how_many(len(renamed), 'node')} that shared a name", tuple(renamed)))
    return tuple(changes)


def _name_values(model: ir.Model) -> tuple[Change, ...]:
    interface = [*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()]
    taken = [value.name for graph in all_graphs(model.graph) for value in defined_values(graph) if value.name != ""]
    if _are_unique(taken):
        return ()
    fixed = {id(value) for value in interface}
    names = UnusedNames(taken)
    seen = {value.name for value in interface}
    renamed = 0

    def visit(graph: ir.Graph, outer: dict[str, str]) -> None:
        nonlocal renamed
        own: dict[str, str] = {}
        for value in list(defined_values(graph)):
            if id(value) in fixed or value.name == "":
                continue
            if value.name is None or value.name in seen:
                old = value.name
                rename(value, names.fresh(old or "value"))
                if old is not None:
                    own[old] = str(value.name)
                renamed += 1
            seen.add(value.name)
        known = {**outer, **own} if own else outer
        if known:
            _follow_annotations(graph, known)
        for node in graph:
            for _, body in bodies(node):
                visit(body, known)

    visit(model.graph, {})
    return (Change("names", f"renamed {renamed} values that had no name or one in use"),) if renamed else ()


def _are_unique(names: list[str | None]) -> bool:
    distinct = set(names)
    return len(distinct) == len(names) and not distinct & {None, ""}


def _follow_annotations(graph: ir.Graph, renamed: dict[str, str]) -> None:
    for value in defined_values(graph):
        annotation = quantization_annotation(value)
        if annotation:
            set_quantization_annotation(value, {key: renamed.get(name, name) for key, name in annotation.items()})
