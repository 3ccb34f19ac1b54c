"""Which nodes of a graph stand at the same place of equal blocks, such as the layers of a transformer.

Nodes are equal where they look alike (operator, attributes, shapes of weights), and so do the nodes around them up to
some steps away (colour refinement: Weisfeiler, Leman, The Reduction of a Graph to Canonical Form, 1968). Names do not
count. At the rim of a row of blocks, nodes that see beyond it are equal to none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import onnx_ir as ir

from autocast_core.graph.walk import is_counted, nodes_with_ids
from autocast_core.search.search_space import SearchSpace

_STEPS = 3
"""How far around a node others must look alike."""
_FEWEST = 4
"""Equal nodes from which on they are decided together."""
_LEAST_SHARE = 0.5
"""Of the candidates, the share that must have so many equals for a search by blocks to save anything."""


def by_blocks(model: ir.Model, space: SearchSpace) -> SearchSpace | None:
    """`space` with equal nodes decided together; None where the graph has no row of equal blocks."""
    candidates = frozenset(space.candidates)
    classes = [found for found in equal_nodes(model) if len(found & candidates) >= _FEWEST]
    repeated = sum(len(found & candidates) for found in classes)
    if repeated < _LEAST_SHARE * len(candidates):
        return None
    wide = (found & candidates for found in classes)
    groups = _joined([*(frozenset(group) for group in space.groups.values()), *wide])
    by_node = {node: group for group in groups for node in group if node in candidates}
    return SearchSpace(space.lowest, space.candidates, by_node, space.rule)


def equal_nodes(model: ir.Model) -> list[frozenset[str]]:
    """The ids of nodes that stand at the same place of equal blocks, as sets; a node without equals is one alone."""
    ids = {node: node_id for node_id, node in nodes_with_ids(model.graph) if is_counted(node)}
    colours = {node: _digest(_look(node)) for node in ids}
    for _ in range(_STEPS):
        colours = {node: _digest((colours[node], *_around(node, colours))) for node in ids}
    found: dict[str, set[str]] = {}
    for node, colour in colours.items():
        found.setdefault(colour, set()).add(ids[node])
    return [frozenset(equals) for equals in found.values()]


def _look(node: ir.Node) -> tuple[object, ...]:
    attributes = sorted(
        (name, str(each.value)) for name, each in node.attributes.items() if each.type not in _NOT_COMPARED
    )
    return node.domain, node.op_type, attributes, [_literal(value) for value in node.inputs]


_NOT_COMPARED = (
    ir.AttributeType.GRAPH,
    ir.AttributeType.GRAPHS,
    ir.AttributeType.TENSOR,
    ir.AttributeType.TENSORS,
)


def _literal(value: ir.Value | None) -> object:
    """The shape of a weight; of another value whether it is there, and made by a node or not."""
    if value is None:
        return None
    return tuple(value.const_value.shape) if value.const_value is not None else value.producer() is None


def _around(node: ir.Node, colours: Mapping[ir.Node, str]) -> tuple[object, ...]:
    """The colours of what makes each input, in order, and of what reads the outputs."""
    makers = [colours.get(maker, "") if (maker := _maker(value)) is not None else "" for value in node.inputs]
    readers = sorted(f"{colours.get(reader, '')}:{place}" for out in node.outputs for reader, place in out.uses())
    return tuple(makers), tuple(readers)


def _maker(value: ir.Value | None) -> ir.Node | None:
    return None if value is None else value.producer()


def _digest(look: object) -> str:
    return hashlib.sha256(repr(look).encode()).hexdigest()[:16]


def _joined(groups: Iterable[frozenset[str]]) -> list[frozenset[str]]:
    """Groups that share a node as one."""
    found: list[frozenset[str]] = []
    for group in groups:
        touching = [other for other in found if other & group]
        found = [other for other in found if not other & group]
        found.append(group.union(*touching))
    return found
