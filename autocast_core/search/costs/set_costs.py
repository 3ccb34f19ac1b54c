"""What a set of FP32 nodes costs, by what a search minimizes."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from autocast_core.apply.placement import PrecisionCosts, traffic_costs
from autocast_core.data import Batches
from autocast_core.graph.walk import nodes_with_ids
from autocast_core.runtime import Runtime
from autocast_core.search.costs.measured_sizes import measured_sizes
from autocast_core.search.search_space import SearchSpace

NODES, WEIGHT_BYTES, TRAFFIC = "nodes", "weight_bytes", "traffic"
COSTS = (TRAFFIC, WEIGHT_BYTES, NODES)
"""What a search may minimize."""


def set_costs(model: ir.Model, space: SearchSpace, cost: str, batches: Batches, runtime: Runtime) -> PrecisionCosts:
    """The costs of the sets of `space` by `cost`, one of COSTS; for an estimated time those of traffic, which guide it.
    Sizes of tensors are those of the first batch."""
    if cost == NODES:
        return node_costs(space.candidates)
    if cost == WEIGHT_BYTES:
        return weight_costs(model, space)
    counts = measured_sizes(model, next(iter(batches), {}), runtime)
    return traffic_costs(model, space.lowest, frozenset(space.candidates), counts)


def node_costs(candidates: Iterable[str]) -> PrecisionCosts:
    """One a node."""
    return PrecisionCosts("nodes", dict.fromkeys(candidates, 1.0))


def weight_costs(model: ir.Model, space: SearchSpace) -> PrecisionCosts:
    """The bytes of the weights that a node reads, and one more, so that nodes without weights are not free."""
    candidates = set(space.candidates)
    weights = {
        node_id: 1.0 + sum(v.const_value.nbytes for v in node.inputs if v is not None and v.const_value is not None)
        for node_id, node in nodes_with_ids(model.graph)
        if node_id in candidates
    }
    return PrecisionCosts("bytes of weights", weights)
