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


class PlanData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was measured for a plan. The fields from `budgets` on are a search's and `target` a fit's, else UNSET."""

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
