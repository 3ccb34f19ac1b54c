"""What was measured for a plan: on which data, by what, and what a search or an engine found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from autocast_core.config import Precision

Number = float | None
"""A float; None in a plan that was read where the number was not finite."""


class NodeError(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one node does to the accuracy.

    `local` is the relative L2 of its outputs if it alone is low and its inputs are exact (saturating, see
    search.probe_graph); `share` its part of the squared relative error at the outputs of the fully lowered model: the
    errors that enter at a place which several nodes must leave together are divided equally among them. `overflow`
    counts the elements of its outputs beyond the range of the low type, `underflow` those other than 0 that round to 0.
    """

    id: str
    op_type: str
    local: Number
    share: float
    overflow: int = 0
    underflow: int = 0

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return msgspec.structs.asdict(self)


class TargetStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One change that a target engine asked for: in which round (0: known beforehand), which nodes, and its message."""

    round: int
    nodes: tuple[str, ...]
    before: Precision
    after: Precision
    message: str = msgspec.field(name="words")


class TargetRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a plan was fitted to a target engine, and how far the fitted model got there."""

    name: str
    measured_on: str
    package: str | None
    depth: str
    accepted: bool
    steps: tuple[TargetStep, ...] = ()


class RepairRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a measured decision changed in the rules' plan, and what that did.

    `target` are the gates on the data that it measured on, of sha256 `digest`; `met` says whether the plan reaches
    all of them. `evaluations` counts passes that measured plans, beside the reference's and the attribution's. The
    ratios are those of the worst output's worst batch, before and after.
    """

    target: tuple[str, ...]
    met: bool
    evaluations: Annotated[int, Meta(ge=0)]
    digest: str | None
    sqnr_db_before: Number
    sqnr_db_after: Number
    kept: Annotated[tuple[str, ...], Meta(description="Nodes kept in FP32 beside the rules'.")] = ()
    released: Annotated[tuple[str, ...], Meta(description="Nodes that a rule had kept.")] = ()
    stopped: Annotated[str | None, Meta(description="What ended the search for a smaller set.")] = None

    def metrics(self) -> dict[str, float]:
        """The figures by the names that runs are logged under: ``repair/*``."""
        before, after = self.sqnr_db_before, self.sqnr_db_after
        found = {
            "repair/evaluations": float(self.evaluations),
            "repair/kept_fp32": float(len(self.kept)),
            "repair/released": float(len(self.released)),
            "repair/met": float(self.met),
        }
        if before is None or after is None:
            return found
        return {
            **found,
            "repair/sqnr_db_before": before,
            "repair/sqnr_db_after": after,
            "repair/gained_db": after - before,
        }

    def summary(self) -> str:
        """One line: what was kept and released, what that gained, and what it took."""
        before, after = self.sqnr_db_before, self.sqnr_db_after
        ratio = "" if before is None or after is None else f": {before:.1f} dB before, {after:.1f} dB after"
        kept, released = len(self.kept), len(self.released)
        changes = [f"{kept:,} more node(s) in FP32"] if kept else []
        changes += [f"{released:,} node(s) released"] if released else []
        what = " and ".join(changes) or "nothing changed"
        missed = "" if self.met else "; the target is not met"
        return f"Decided by measuring: {what}{ratio} ({self.evaluations} evaluations){missed}"


class PlacementRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What cast placement did: the nodes that it moved to the other type, and the bytes that Casts, and FP32 in all,
    move for a batch beyond a plan with every movable node low, before and after."""

    moved: tuple[str, ...]
    cast_bytes_before: Annotated[int, Meta(ge=0)]
    cast_bytes_after: Annotated[int, Meta(ge=0)]
    traffic_before: Annotated[int, Meta(ge=0)]
    traffic_after: Annotated[int, Meta(ge=0)]

    def metrics(self) -> dict[str, float]:
        """The figures by the names that runs are logged under: ``placement/*``."""
        return {
            "placement/moved": float(len(self.moved)),
            "placement/cast_bytes_before": float(self.cast_bytes_before),
            "placement/cast_bytes_after": float(self.cast_bytes_after),
        }

    def summary(self) -> str:
        """One line: how many nodes were moved and what that saves."""
        return (
            f"Cast placement moved {len(self.moved):,} node(s): Casts move {self.cast_bytes_before:,} bytes before"
            f" and {self.cast_bytes_after:,} after, FP32 in all {self.traffic_before:,} and {self.traffic_after:,}"
        )


class PlanData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was measured for a plan. The fields from `budgets` on are a search's, `target` a fit's, `repair` a
    measured decision's and `placement` that of Casts, else UNSET."""

    origin: Annotated[
        Literal["none", "random", "calibration", "evaluation"], Meta(description="Which data the plan is based on.")
    ] = "none"
    digest: Annotated[str | None, Meta(description="sha256 of the data; of several shards, joined by +.")] = None
    batches: Annotated[int, Meta(ge=0)] = 0
    backend: Annotated[str | None, Meta(description="What executed the model.")] = None
    budgets: Annotated[tuple[str, ...], Meta(description="What the search had to keep to.")] | UnsetType = UNSET
    evaluations: Annotated[int, Meta(ge=0, description="Passes over the data.")] | UnsetType = UNSET
    stopped: Annotated[str | None, Meta(description="What ended the search early.")] | UnsetType = UNSET
    metrics: Annotated[Mapping[str, Number], Meta(description="Of the model by this plan.")] | UnsetType = UNSET
    attribution: Annotated[tuple[NodeError, ...], Meta(description="Nodes by falling share.")] | UnsetType = UNSET
    target: TargetRecord | UnsetType = UNSET
    repair: RepairRecord | UnsetType = UNSET
    placement: PlacementRecord | UnsetType = UNSET
