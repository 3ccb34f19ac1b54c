"""Settings of other tools, carried over: as options for a model, or as edits of a plan."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.decide.rules import entry_of
from autocast_core.errors import ConfigError
from autocast_core.graph.annotations import replaced_names
from autocast_core.graph.walk import is_counted, nodes_with_ids
from autocast_core.number_formats import FLOAT_DTYPES
from autocast_core.operators import element_type
from autocast_core.pipeline.artifacts import SanitizedSource
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.stage import in_this_process, run_stages
from autocast_core.pipeline.stages.load import LOAD
from autocast_core.pipeline.stages.sanitize import SANITIZE
from autocast_core.plan import PrecisionPlan
from autocast_core.plan.foreign_settings import MatchedSettings, NamedNode, match_settings, read_settings
from autocast_core.precision import Precision

RULE = "imported"
"""What plans record of nodes that imported settings decide: like a custom rule's name."""

_PATH = re.compile(r"^graph/(?:.*:(?:then_branch|else_branch|body)(?:\[\d+\])?/)?", re.DOTALL)

Options = Mapping[str, str | list[str]]


@dataclass(frozen=True)
class ImportedOptions:
    """Options of a conversion that say what the settings said, by their names in a spec, and what they did not reach:
    entries that name no node (`unmatched`), and entries of other types (`ignored`)."""

    options: Options
    unmatched: tuple[str, ...]
    ignored: tuple[str, ...]


@dataclass(frozen=True)
class ImportedPlan:
    """The edited plan, how many nodes changed, and what was not reached; `refused` are ids of nodes that keep their
    precision, since no other is legal for them."""

    plan: PrecisionPlan
    changed: int
    refused: tuple[str, ...]
    unmatched: tuple[str, ...]
    ignored: tuple[str, ...]


def import_options(settings: str, model: str | Path) -> ImportedOptions:
    """The options that make of the model at `model` what `settings`, a text, say; weights are not read.

    Nodes are known by their names, those that they were fused from, and ``node_of_OUTPUT``, as TensorRT calls nodes
    without a name. Raises ConfigError for settings that cannot be read or reach no node, and as the stages load and
    sanitize.
    """
    read = read_settings(settings)
    job = Job(model, ConversionConfig())
    graph = run_stages((LOAD, SANITIZE), in_this_process(job))[SanitizedSource].model.graph
    floats = {node_id: node for node_id, node in nodes_with_ids(graph) if is_counted(node) and _computes_floats(node)}
    names = {node_id: (node.name or "", *replaced_names(node)) for node_id, node in floats.items()}
    outputs = {node_id: [f"node_of_{value.name}" for value in node.outputs] for node_id, node in floats.items()}
    nodes = [NamedNode(each, (*names[each], *outputs[each]), node.op_type) for each, node in floats.items()]
    matched = match_settings(read, nodes)
    _require_a_node(matched)
    return ImportedOptions(_options(matched, names), matched.unmatched, read.ignored)


def import_into_plan(settings: str, plan: PrecisionPlan) -> ImportedPlan:
    """`plan` with the precisions that `settings`, a text, say.

    Raises ConfigError for settings that cannot be read, reach no node, or ask for the other 16-bit type.
    """
    read = read_settings(settings)
    decided = [node for node in plan.nodes if node.precision is not Precision.NONE]
    nodes = [NamedNode(each.id, (_name(each.id), *each.replaces), each.op_type) for each in decided]
    matched = match_settings(read, nodes)
    _require_a_node(matched)
    if matched.low not in (None, plan.precision):
        raise ConfigError(
            f"the settings ask for {matched.low}, and the plan is for {plan.precision}: give another plan"
        )
    wanted = {
        each.id: matched.precisions[each.id]
        for each in decided
        if matched.precisions.get(each.id, each.precision) != each.precision
    }
    refused = tuple(each.id for each in decided if each.id in wanted and entry_of(each.rule).is_binding)
    changes = {node_id: precision for node_id, precision in wanted.items() if node_id not in refused}
    edited = plan.with_precisions(changes, RULE, "the imported settings say so")
    return ImportedPlan(edited, len(changes), refused, matched.unmatched, read.ignored)


def _computes_floats(node: ir.Node) -> bool:
    values = (value for value in (*node.inputs, *node.outputs) if value is not None)
    return any(element_type(value) in FLOAT_DTYPES for value in values)


def _require_a_node(matched: MatchedSettings) -> None:
    if not matched.precisions:
        named = ", ".join(map(repr, matched.unmatched[:3])) or "they hold no type of fp32, fp16 and bf16"
        raise ConfigError(f"the settings reach no node ({named}): give names of the model's nodes or operators")


def _options(matched: MatchedSettings, names: Mapping[str, tuple[str, ...]]) -> Options:
    """Exact patterns of the nodes' `names`; where the settings say something of every node, the larger part is said as
    all but the smaller."""
    kept = [node_id for node_id in names if matched.precisions.get(node_id) is Precision.FP32]
    low = [node_id for node_id in names if matched.precisions.get(node_id, Precision.FP32).is_low]
    of_all = len(kept) + len(low) == len(names)
    exclude, include = ([_exactly(names[each][0]) for each in side] for side in (kept, low))
    if of_all and len(low) > len(kept):
        include = [_all_but([name for each in kept for name in names[each]])]
    elif of_all:
        exclude = [".*"]
    options: dict[str, str | list[str]] = {} if matched.low is None else {"precision": str(matched.low)}
    given = {"nodes_to_exclude": exclude, "nodes_to_include": include}
    return {**options, **{name: patterns for name, patterns in given.items() if patterns}}


def _exactly(name: str) -> str:
    return f"{re.escape(name)}$"


def _all_but(names: Sequence[str]) -> str:
    return f"(?!(?:{'|'.join(map(re.escape, dict.fromkeys(names)))})$)" if names else ".*"


def _name(node_id: str) -> str:
    """The node's own name: its id without the path."""
    return _PATH.sub("", node_id)
