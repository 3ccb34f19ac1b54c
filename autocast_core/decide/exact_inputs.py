"""Graph inputs that must keep their type, since a node that needs them unrounded reads them beside low ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx_ir as ir

from autocast_core.config import ConversionConfig, Precision
from autocast_core.decide.rules import entry_of
from autocast_core.graph.walk import is_counted
from autocast_core.plan import NodeDecision


def kept_io_types(
    graph: ir.Graph, ids: Mapping[str, ir.Node], decisions: Mapping[str, NodeDecision], config: ConversionConfig
) -> bool | tuple[str, ...]:
    """What of ``keep_io_types`` a plan records: the option's value, and the inputs that rules need to be exact.

    `ids` are the nodes that `decisions` decide, by id. An input that FP32 nodes alone read keeps its type anyway; with
    ``lower_all_io`` none does, since the caller wants the types that AutoCast gives.
    """
    keep = config.keep_io_types
    if keep is True:
        return True
    by_node = {node: decisions[node_id] for node_id, node in ids.items() if node_id in decisions}
    exact = () if config.lower_all_io else (str(v.name) for v in graph.inputs if _is_torn(v, by_node))
    named = keep if isinstance(keep, tuple) else ()
    return tuple(sorted({*named, *exact})) or keep


def _is_torn(value: ir.Value, decisions: Mapping[ir.Node, NodeDecision]) -> bool:
    """Whether some reader needs the elements as they are, and a low one would have them rounded."""
    if value.dtype != ir.DataType.FLOAT:
        return False
    readers = [decisions[node] for node in _readers(value) if node in decisions]
    needs = any(each.precision is Precision.FP32 and entry_of(each.rule).exact_operands for each in readers)
    return needs and any(each.precision.is_low for each in readers)


def _readers(value: ir.Value) -> Iterable[ir.Node]:
    return (node for node, _ in value.uses() if is_counted(node))
