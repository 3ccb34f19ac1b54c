"""What a target engine is known to refuse, from refusals.json: each entry measured on the version that the file names.

A conversion for that target starts from them, so that only refusals not listed here cost a round of feedback.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

import onnx_ir as ir

from autocast_core.config import Precision
from autocast_core.errors import ConfigError
from autocast_core.graph.walk import nodes_with_ids
from autocast_core.plan import PrecisionPlan


@dataclass(frozen=True)
class Refusal:
    """An operator of the default domain that the target refuses in a precision, below an opset where one is given."""

    op: str
    precision: Precision
    message: str
    below_opset: int | None = None


@dataclass(frozen=True)
class TargetEngine:
    """An engine that models are converted for: the opsets it reads and what it refuses, as measured on a version.

    `unread` are operators of ONNX that it reads in no precision, `read_of_com_microsoft` those of ONNX Runtime's own
    that it reads.
    """

    name: str
    measured_on: str
    min_opset: int
    max_opset: int
    refusals: tuple[Refusal, ...]
    unread: frozenset[str] = frozenset()
    read_of_com_microsoft: frozenset[str] = frozenset()

    def reads(self, node: ir.Node) -> bool:
        """Whether it reads the operator at all. Of other domains nothing is known: a plugin may bring them."""
        if node.domain == "com.microsoft":
            return node.op_type in self.read_of_com_microsoft
        return node.domain != "" or node.op_type not in self.unread

    def refused(self, model: ir.Model, plan: PrecisionPlan) -> dict[str, Refusal]:
        """The nodes of `plan` that the target is known to refuse in their precision, by id."""
        known = {(each.op, each.precision): each for each in self.refusals}
        opset = model.opset_imports.get("", 1)
        found = {}
        for decision in plan.nodes:
            refusal = known.get((decision.op_type, decision.precision)) if decision.domain == "" else None
            if refusal is not None and (refusal.below_opset is None or opset < refusal.below_opset):
                found[decision.id] = refusal
        return found

    def opset_warning(self, model: ir.Model) -> str | None:
        """What to say where the model's opset is none that the target reads; None where it is."""
        opset = model.opset_imports.get("", self.max_opset)
        if self.min_opset <= opset <= self.max_opset or not any(n.domain == "" for _, n in nodes_with_ids(model.graph)):
            return None
        return (
            f"{self.name} reads opsets {self.min_opset} to {self.max_opset} and the model has {opset}; "
            f"export it at {self.max_opset} if it is refused"
        )


def target_named(name: str) -> TargetEngine:
    """The target called `name`. ConfigError for one that refusals.json does not know."""
    known = _read()
    if name not in known:
        raise ConfigError(f"target {name!r}: give {', '.join(sorted(known))}")
    return known[name]


def _read() -> Mapping[str, TargetEngine]:
    text = resources.files("autocast_core.targets").joinpath("refusals.json").read_text(encoding="utf-8")
    return {
        name: TargetEngine(
            name,
            entry["measured_on"],
            entry["opset"]["min"],
            entry["opset"]["max"],
            tuple(
                Refusal(item["op"], Precision(item["precision"]), item["message"], item.get("below_opset"))
                for item in entry["refusals"]
            ),
            frozenset(entry["operators"]["unread"]),
            frozenset(entry["operators"]["read_of_com_microsoft"]),
        )
        for name, entry in json.loads(text).items()
    }
