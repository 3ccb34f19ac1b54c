"""Segments: the nodes of a model between a matched tensor and the matched ones before it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from autocast_core.diagnose.matching.by_structure import Matching
from autocast_core.diagnose.matching.operand_likeness import is_constant, passes_on
from autocast_core.graph.walk import all_nodes, bodies


@dataclass(frozen=True)
class MatchedSegment:
    """What makes `value` of the candidate: `nodes`, the last first, from the matched tensors in `fed`, by candidate's
    value the reference's; `reference_nodes` make its counterpart `reference` from matched tensors, the last first."""

    value: ir.Value
    reference: ir.Value
    nodes: tuple[ir.Node, ...]
    fed: Mapping[ir.Value, ir.Value]
    reference_nodes: tuple[ir.Node, ...]
    reference_inputs: tuple[ir.Value, ...]

    @property
    def inputs(self) -> tuple[ir.Value, ...]:
        """The candidate's tensors from which `nodes` compute."""
        return tuple(self.fed)

    @property
    def node(self) -> ir.Node:
        """The node whose output is `value`."""
        return self.nodes[0]

    @property
    def is_added_cast(self) -> bool:
        """Whether it is a Cast that the reference does not have, or another node that passes its input on."""
        return not self.reference_nodes


def segments(matching: Matching) -> list[MatchedSegment]:
    """A segment for each matched output of a node of the candidate's main graph, in graph order."""
    cuts = set(matching.of)
    reference_cuts = set(matching.of.values())
    found = []
    for node in matching.candidate.graph:
        for value in node.outputs:
            if value not in matching.of:
                continue
            reference = matching.of[value]
            nodes, inputs = _behind(value, cuts)
            fed = {each: matching.of[each] for each in inputs if each in matching.of}
            if reference in fed.values():
                found.append(MatchedSegment(value, reference, nodes, fed, (), ()))
                continue
            theirs, sources = _behind(reference, reference_cuts)
            found.append(MatchedSegment(value, reference, nodes, fed, theirs, sources))
    return found


def reads(node: ir.Node) -> list[ir.Value]:
    """What a node and its bodies read from the graph around it."""
    found = [value for value in node.inputs if value is not None]
    for _, body in bodies(node):
        inner = {value for each in all_nodes(body) for value in each.outputs}
        found += [v for each in all_nodes(body) for v in each.inputs if v is not None and v not in inner]
        found += [v for v in body.outputs if v not in inner]
    return [value for value in dict.fromkeys(found) if value.graph is node.graph or value.producer() is not None]


def _behind(value: ir.Value, cuts: Collection[ir.Value]) -> tuple[tuple[ir.Node, ...], tuple[ir.Value, ...]]:
    """The nodes that make `value` from `cuts`, and those of the cuts that they read."""
    nodes: dict[ir.Node, None] = {}
    inputs: dict[ir.Value, None] = {}
    waiting = [producer for producer in (value.producer(),) if producer is not None]
    while waiting:
        node = waiting.pop(0)
        if node in nodes:
            continue
        nodes[node] = None
        for source in reads(node):
            if is_constant(source):
                continue
            if source in cuts or source.is_graph_input():
                inputs[source] = None
                continue
            # The reference's Casts and Identities belong to what they pass on.
            through = source.producer()
            passed = through.inputs[0] if through is not None and passes_on(through) else None
            if passed is not None and passed in cuts:
                inputs[passed] = None
            elif through is not None:
                waiting.append(through)
    return tuple(nodes), tuple(inputs)
