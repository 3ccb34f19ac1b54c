"""The precision plan: per node its precision, the rule that decided, and the evidence.

A plan is made by rules, a search or people; `autocast_core.apply` turns it into a model without looking at any data.
The classes here, in `settings` and in `data` are the form of plan files: reader, writer and schema follow from them.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import replace

from autocast_core.config import Precision
from autocast_core.errors import MissingPlanError, PlanError
from autocast_core.plan.codec import canonical_json, read_json
from autocast_core.plan.data import PlanData
from autocast_core.plan.settings import PlanSettings
from autocast_core.precision import LOW_TYPES, LowTypes, types_text
from autocast_core.process.notebook_hook import notebook_html

PLAN_FORMAT = 1
MOST_BYTES = 512 << 20
"""A plan of 20,000 nodes has 10 MB."""

ALREADY_LOW_RULE = "already_low"
"""The rule of nodes that have 16-bit types in the source model: a conversion leaves them as they are."""

FREE_RULE = "free"
"""The rule of nodes that compute in FP32 inside a kernel, which costs no kernel and next to no traffic."""

Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Meta(ge=0)]


class Evidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One measured or declared quantity that speaks for a decision; None where it does not apply."""

    tensor: str | None = None
    min: float | None = None
    max: float | None = None
    absmax: float | None = None
    limit: float | None = None
    detail: str | None = None
    estimated: (
        Annotated[float | None, Meta(description="The largest magnitude to expect in 100 times as many batches.")]
        | UnsetType
    ) = UNSET


class NodeDecision(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a node computes in and why."""

    id: Annotated[str, Meta(description="The node's path: graph/NAME, or graph/If_3:then_branch/NAME in a body.")]
    op_type: str
    precision: Annotated[Precision, Meta(description="none: the node has no float tensor.")]
    rule: Annotated[str, Meta(description="The rule that decided; default where none kept the node in FP32.")]
    domain: Annotated[str, Meta(description="Empty: ONNX's own.")] = ""
    reason: str = ""
    evidence: tuple[Evidence, ...] = ()
    replaces: Annotated[tuple[str, ...], Meta(description="Names of the nodes that it was fused from.")] = ()


class SanitizeChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that a pass of sanitize did: the pass, a line of plain English, the nodes that it concerns."""

    step: str
    detail: str
    nodes: tuple[str, ...] = ()
    operands: Annotated[
        tuple[Count, ...] | UnsetType,
        Meta(description="Repairs of range: the inputs of the nodes that are multiplied by 2^exponent."),
    ] = UNSET
    exponent: Annotated[int, Meta(ge=-64, le=0)] | UnsetType = UNSET


class WeightChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An initializer or Constant whose values do not all survive the low type: how many elements are clamped, or become
    0. Where it holds NaN or infinity, in whatever type it is kept, how many elements are that."""

    tensor: str
    clamped: Count = 0
    underflowed: Count = 0
    nonfinite: Count | UnsetType = UNSET


class BiasCorrection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is added to the bias of a product in place of what the rounding of its weight to `precision` takes from its
    mean result."""

    product: Annotated[str, Meta(description="The id of the node that multiplies.")]
    precision: Precision
    values: Annotated[bytes, Meta(description="Little-endian FP32, one number a channel; in JSON as base64.")]


class CorrectedBiases(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The biases that are corrected, and the SQNR in dB of the worst output on the batch that was held out, by the plan
    without the corrections and with them."""

    sqnr_db_before: float
    sqnr_db_after: float
    corrections: tuple[BiasCorrection, ...]

    def summary(self) -> str:
        """Part of a line: how many biases are corrected, and what that gains."""
        gain = f"from {self.sqnr_db_before:.1f} to {self.sqnr_db_after:.1f} dB on a batch that was held out"
        return f"{len(self.corrections):,} biases are corrected: {gain}"


@dataclass(frozen=True)
class PlanCounts:
    """How many nodes have which precision; see `share`. `already_low` are those of `low_precision` that had it before,
    `inside_kernels` those of `fp32` that compute so inside a kernel, for next to nothing.

    A dataclass and not part of the plan's form: it is sent from the isolated process, through pydantic.
    """

    total: int
    low_precision: int
    fp32: int
    already_low: int = 0
    inside_kernels: int = 0

    @property
    def share(self) -> float:
        """low / (low + fp32), 1.0 for a model without float nodes."""
        floats = self.low_precision + self.fp32
        return self.low_precision / floats if floats else 1.0

    def metrics(self) -> dict[str, float]:
        """The counts by the names that runs are logged under: ``nodes/*``."""
        found: dict[str, float] = {
            "nodes/total": self.total,
            "nodes/low_precision": self.low_precision,
            "nodes/fp32": self.fp32,
            "nodes/low_precision_share": self.share,
        }
        return {**found, "nodes/fp32_inside_kernels": self.inside_kernels} if self.inside_kernels else found


class PrecisionPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Per node of a sanitized ONNX model the type that it computes in, and why."""

    low: Annotated[
        Precision | tuple[Precision, Precision],
        Meta(
            description="The low type of nodes that are lowered; two: FP16, and BF16 for nodes that need more range.",
            extra_json_schema={"enum": [types[0] if len(types) == 1 else list(types) for types in LOW_TYPES]},
        ),
    ] = msgspec.field(name="precision")
    structure_digest: Annotated[Digest, Meta(description="Of nodes, edges, operators and shapes, without weights.")]
    weights_digest: Annotated[Digest, Meta(description="Of the weights that the plan was made for.")]
    nodes: tuple[NodeDecision, ...]
    settings: PlanSettings = PlanSettings()
    sanitize: Annotated[
        tuple[SanitizeChange, ...], Meta(description="What led from the source to the graph that the plan is for.")
    ] = ()
    weights: tuple[WeightChange, ...] = ()
    biases: CorrectedBiases | UnsetType = UNSET
    io_kept: Annotated[tuple[str, ...], Meta(description="Graph inputs and outputs left in FP32.")] = ()
    data: PlanData = PlanData()
    warnings: tuple[str, ...] = ()
    engine_version: Annotated[str, Meta(description="Version of the program that wrote the plan.")] = ""
    format: Annotated[int, Meta(description="Version of this form.", extra_json_schema={"const": PLAN_FORMAT})] = (
        PLAN_FORMAT
    )

    @property
    def precision(self) -> Precision:
        """The low type, the first where there are two."""
        return self.low_types[0]

    @property
    def range_precision(self) -> Precision | None:
        """The second low type, for nodes that need more range than the first has; None where there is one."""
        return self.low_types[1] if len(self.low_types) > 1 else None

    @property
    def low_types(self) -> LowTypes:
        """The low types that nodes may have."""
        return self.low if isinstance(self.low, tuple) else (self.low,)

    def counts(self) -> PlanCounts:
        """Counts over all nodes; those without a float tensor count in `total` only."""
        seen = Counter(decision.precision for decision in self.nodes)
        low = seen[Precision.FP16] + seen[Precision.BF16]
        already = sum(each.rule == ALREADY_LOW_RULE for each in self.nodes)
        free = sum(each.rule == FREE_RULE for each in self.nodes)
        return PlanCounts(len(self.nodes), low, seen[Precision.FP32], already, free)

    def _repr_html_(self) -> str:
        return notebook_html(self)

    def summary(self) -> str:
        """The line a conversion ends with, as AutoCast prints it; nodes that had 16 bits before are counted apart."""
        counts = self.counts()
        floats, done = counts.low_precision + counts.fp32, counts.low_precision - counts.already_low
        share = done / floats if counts.already_low else counts.share
        line = f"Converted {done}/{floats} nodes ({share:.2%}) to {self._types_done()}"
        if counts.already_low:
            line = f"{line}; {counts.already_low} had 16-bit types before"
        if self.biases is not UNSET:
            line = f"{line}; {self.biases.summary()}"
        if not counts.inside_kernels:
            return line
        kept = counts.fp32 - counts.inside_kernels
        return f"{line}; {counts.inside_kernels} compute in FP32 inside a kernel, {kept} are kept in FP32 at a price"

    def _types_done(self) -> str:
        """``fp16``, or with two types how many nodes were converted to each: ``fp16 (12) and bf16 (3)``."""
        if self.range_precision is None:
            return self.precision
        done = Counter(each.precision for each in self.nodes if each.rule != ALREADY_LOW_RULE)
        return " and ".join(f"{each} ({done[each]})" for each in self.low_types)

    def nonfinite_weights(self) -> str | None:
        """One line on the weights that hold NaN or infinity; None where none does."""
        counts = {each.tensor: each.nonfinite for each in self.weights if each.nonfinite}
        if not counts:
            return None
        name, number = next(iter(counts.items()))
        others = f", and {len(counts) - 1} more weights do" if len(counts) > 1 else ""
        return f"weight {name!r} holds {number:,} NaN or infinite values{others}"

    def measured_metrics(self) -> dict[str, float]:
        """What a measured decision did, by the names that runs are logged under; empty where there was none."""
        records = (self.data.repair, self.data.placement)
        return {name: value for each in records if each is not UNSET for name, value in each.metrics().items()}

    def measured_summary(self) -> str | None:
        """What a measured decision did, in one line; None where there was none."""
        records = (self.data.repair, self.data.placement)
        return "; ".join(each.summary() for each in records if each is not UNSET) or None

    def nothing_lowered(self) -> str | None:
        """One line where the plan lowers no node; None where it lowers one."""
        counts = self.counts()
        if counts.low_precision > counts.already_low:
            return None
        if counts.already_low:
            kept = f", {counts.fp32:,} in FP32" if counts.fp32 else ""
            return f"nothing was converted: {counts.already_low:,} float nodes had 16-bit types before{kept}"
        if not counts.fp32:
            return "nothing was converted: no node computes with floats"
        rules = Counter(decision.rule for decision in self.nodes if decision.precision is Precision.FP32)
        rule, number = rules.most_common(1)[0]
        return (
            f"nothing was converted: every float node ({counts.fp32:,}) stays in FP32, most often by rule {rule}"
            f" ({number:,})"
        )

    def by_id(self) -> dict[str, NodeDecision]:
        """The decisions by node id."""
        return {decision.id: decision for decision in self.nodes}

    def with_precisions(self, changes: Mapping[str, Precision], rule: str, reason: str) -> PrecisionPlan:
        """The plan with the nodes named in `changes` decided anew by `rule`; evidence of those nodes is kept.

        Raises PlanError for an id that no node has.
        """
        unknown = sorted(set(changes) - {decision.id for decision in self.nodes})
        if unknown:
            raise PlanError(f"the plan has no node {unknown[0]!r}: give a node id as `autocast plan show` prints it")
        nodes = tuple(
            replace(decision, precision=changes[decision.id], rule=rule, reason=reason)
            if decision.id in changes and decision.precision != changes[decision.id]
            else decision
            for decision in self.nodes
        )
        return replace(self, nodes=nodes)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, an indent of one space, null for NaN and infinities, a final newline."""
        return canonical_json(self)

    @staticmethod
    def from_json(text: str) -> PrecisionPlan:
        """The plan that `to_json` wrote. PlanError names the first field that is wrong and what it must be."""
        found = read_json(text, _AnyFormat).format
        if found != PLAN_FORMAT:
            raise PlanError(
                f"the plan has format {found!r}; this version reads format {PLAN_FORMAT}: make the plan again"
            )
        plan = read_json(text, PrecisionPlan)
        if plan.low_types not in LOW_TYPES:
            shown = types_text(plan.low_types)
            raise PlanError(f'precision: expected fp16 or bf16 or ["fp16", "bf16"], got {shown}')
        return plan


class _AnyFormat(msgspec.Struct):
    """A plan file of any version."""

    format: Any = None


def read_plan(path: str | Path) -> PrecisionPlan:
    """The plan in the file at `path`. PlanError where it is missing, unreadable or not a plan."""
    with plan_errors_of(path):
        return PrecisionPlan.from_json(_text(path))


@contextmanager
def plan_errors_of(path: str | Path) -> Iterator[None]:
    """What keeps the plan at `path` from being read, as a PlanError that names the file and what to give."""
    try:
        yield
    except FileNotFoundError as error:
        raise MissingPlanError(f"{path}: no such file: give a plan.json of a run, or one of --save_plan") from error
    except UnicodeDecodeError as error:
        raise PlanError(f"{path}: is not a plan: give a plan.json of a run, or one of --save_plan") from error
    except OSError as error:
        raise PlanError(f"{path}: cannot be read: {error.strerror}: give a plan.json that can be") from error
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from error


def _text(path: str | Path) -> str:
    """The content of a plain file of at most MOST_BYTES. A pipe is not waited for, a device not read."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise PlanError("is not a file: give the path of a plan.json")
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise PlanError(f"is larger than {MOST_BYTES >> 20} MiB: give the path of a plan.json")
    return content.decode("utf-8")
