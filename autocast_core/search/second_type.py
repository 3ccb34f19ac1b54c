"""Which of the nodes that a search keeps in FP32 may take the second 16-bit type instead: choices to measure.

- First all that the schemas allow, then those alone that FP16's range ruins: what overflows there, and what reads that.
- Nodes that need one precision are chosen together or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import onnx_ir as ir

from autocast_core.config import Precision
from autocast_core.decide.rules import RANGE
from autocast_core.graph.walk import is_counted, nodes_with_ids
from autocast_core.operators import OperandPolicy, float_operands
from autocast_core.search.attribution import Attribution
from autocast_core.search.ranking import Kept
from autocast_core.search.search_space import SearchSpace


def second_type_choices(
    model: ir.Model, space: SearchSpace, kept: Iterable[str], attribution: Attribution, precision: Precision
) -> Iterator[Kept]:
    """Sets of `kept` nodes to try in `precision`, the largest first; each set once."""
    kept = tuple(kept)
    nodes = {node_id: node for node_id, node in nodes_with_ids(model.graph) if is_counted(node)}
    policy = OperandPolicy.of_plan(model, space.lowest)
    legal = {each for each in kept if _takes(nodes[each], policy, precision)}
    everything = _whole_groups(space, legal, legal)
    if everything:
        yield everything
    overflowing = {each.id for each in attribution.nodes if each.overflow}
    ruined = _whole_groups(space, _with_readers(nodes, overflowing) & legal, legal)
    if ruined and ruined != everything:
        yield ruined


def in_second_type(space: SearchSpace, chosen: Kept, precision: Precision) -> SearchSpace:
    """`space` with the `chosen` nodes in `precision` where no plan keeps them in FP32."""
    changes = dict.fromkeys(chosen, precision)
    reason = f"the budget needs it out of {space.lowest.precision}, and {precision} meets it"
    return replace(space, lowest=space.lowest.with_precisions(changes, RANGE.name, reason))


def _takes(node: ir.Node, policy: OperandPolicy, precision: Precision) -> bool:
    operands = float_operands(node, policy, precision)
    return operands.refusal is None and (any(operands.inputs) or any(operands.outputs))


def _whole_groups(space: SearchSpace, wanted: Iterable[str], legal: Iterable[str]) -> Kept:
    """`wanted` without nodes whose group is not `legal` as a whole."""
    allowed = frozenset(legal)
    return frozenset(node for node in wanted if space.together([node]) <= allowed)


def _with_readers(nodes: Mapping[str, ir.Node], overflowing: Iterable[str]) -> set[str]:
    ids = {node: node_id for node_id, node in nodes.items()}
    found = {each for each in overflowing if each in nodes}
    readers = (reader for each in list(found) for value in nodes[each].outputs for reader, _ in value.uses())
    return found | {ids[reader] for reader in readers if reader in ids}
