"""What a diagnosis says: frozen values, from which the terminal, JSON and pages are made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import numpy as np

from autocast_core.evaluate.errors import sqnr_db
from autocast_core.json_values import finite


class Kind(StrEnum):
    """What goes wrong at a culprit."""

    OVERFLOW = "overflow"
    """Finite values become infinite in the candidate's type."""
    NAN = "nan"
    """NaN arises from finite values."""
    UNDERFLOW = "underflow"
    """Values other than 0 become 0 or subnormal numbers."""
    CANCELLATION = "cancellation"
    """The rounding of the inputs alone makes most of the error: the node takes the difference of nearly equal numbers,
    or is otherwise ill-conditioned."""
    ROUNDING = "rounding"
    """The candidate's type has too few digits."""
    MASK = "mask"
    """The number of an additive mask is a smaller one in the candidate; rows with every key masked become others."""
    CAST = "cast"
    """A Cast that the reference does not have changes the values."""
    DIFFERENCE = "difference"
    """The candidate computes something else: an attribute, an operand or a weight differs, or a node is missing."""


@dataclass(frozen=True)
class TensorDistance:
    """How far a tensor of the candidate is from the reference's, over `elements` compared elements of all batches.

    `rel_l2` is sqrt(sum (r - c)^2 / sum r^2) over elements that are finite in both, infinite where an element that is
    finite in the reference is not in the candidate; `max_abs` is the largest |r - c|; `new_infinite`, `new_nan` count
    elements that are finite in the reference, `vanished` those that are 0 in the candidate alone. Of tensors over
    4,096 elements a sample spread evenly is compared (`sampled`), but `nonfinite` is of all elements.
    """

    rel_l2: float
    max_abs: float
    elements: int
    new_infinite: int
    new_nan: int
    vanished: int
    reference_max: float
    nonfinite: bool
    sampled: bool

    @property
    def sqnr_db(self) -> float:
        """10 log10(sum r^2 / sum (r - c)^2), within ±200."""
        return sqnr_db(self.rel_l2)


@dataclass(frozen=True)
class MatchedTensor:
    """A tensor of the candidate with its counterpart; `matched_by` is ``name``, ``cast`` (of a matched tensor),
    ``structure``, ``numbers`` or ``output``.

    `own` is the relative L2 error that arises here: the candidate's nodes between this tensor and the matched ones
    before it, run on the reference's inputs; `amplified` the same with these inputs rounded to the types in which the
    candidate has them; `came_in` the largest relative error of those inputs in the candidate. All three are of the
    worst batch; None where they were not measured.
    """

    candidate: str
    reference: str
    matched_by: str
    node: str
    op_type: str
    dtype: str
    distance: TensorDistance
    came_in: float | None = None
    own: float | None = None
    amplified: float | None = None


@dataclass(frozen=True)
class Remedy:
    """What fixes a culprit: in words; the converter's options; the repair of the converter that they make, if any; and
    the names of the reference's nodes that an edited plan keeps in FP32 instead."""

    text: str
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    repair: str | None = None
    fp32_nodes: tuple[str, ...] = ()

    def plan_edit(self) -> Mapping[str, list[str]] | None:
        """A block list for `autocast plan import`, which keeps the nodes in FP32; None without nodes."""
        return {"node_block_list": list(self.fp32_nodes)} if self.fp32_nodes else None


@dataclass(frozen=True)
class Recorded:
    """Values of the worst batch at a culprit: the reference's values of the `inputs` of the candidate's nodes, by the
    candidate's names; what the reference has of the output (`expected`), and what the candidate's nodes make of those
    inputs (`found`, in simulation)."""

    inputs: Mapping[str, np.ndarray]
    expected: np.ndarray
    found: np.ndarray


@dataclass(frozen=True)
class Culprit:
    """A place where the candidate goes wrong.

    `candidate_nodes` and `reference_nodes` are ids (`graph/NAME`) of the nodes that compute the matched tensor
    `candidate_value`, `reference_value` from the matched tensors before it, the last first. `share` is the part of the
    outputs' error that is traced to it, `fixed` the worst relative L2 error of an output (on the worst batch) once
    this tensor alone is the reference's, `effect` the part of the error that this takes away. The two are None where
    it was not tried.
    """

    kind: Kind
    op_type: str
    candidate_nodes: tuple[str, ...]
    reference_nodes: tuple[str, ...]
    candidate_value: str
    reference_value: str
    own: float
    amplified: float
    came_in: float
    share: float
    fixed: float | None
    effect: float | None
    outputs: tuple[str, ...]
    explanation: str
    remedy: Remedy
    recorded: Recorded | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Swallowed:
    """A node of the candidate into which infinity or NaN goes and out of which finite numbers come."""

    node: str
    op_type: str
    candidate_value: str
    came_from: str


@dataclass(frozen=True)
class Begins:
    """Where a fault begins: the first node of the candidate whose output has it and whose inputs do not."""

    fault: Kind
    node: str
    op_type: str
    candidate_value: str
    count: int


@dataclass(frozen=True)
class OutputDistance:
    """An output of both models, how far they are apart on all batches and what is tolerated (relative L2)."""

    candidate: str
    reference: str
    distance: TensorDistance
    tolerance: float

    @property
    def diverges(self) -> bool:
        """Whether the distance is beyond the tolerance."""
        return not self.distance.rel_l2 <= self.tolerance


@dataclass(frozen=True)
class Diagnosis:
    """The comparison of a candidate with a reference, tensor by tensor.

    `tensors` are in the order of the candidate; `culprits` by what they do to the outputs, the worst first;
    `first_divergence` is the first tensor that is beyond the tolerance. `unmatched_*` are ids of nodes. `data` is
    ``calibration`` (given) or ``random``; `passes` how often it was read.
    """

    outputs: tuple[OutputDistance, ...]
    tensors: tuple[MatchedTensor, ...]
    culprits: tuple[Culprit, ...]
    first_divergence: str | None
    begins: tuple[Begins, ...]
    swallowed: tuple[Swallowed, ...]
    unmatched_reference: tuple[str, ...]
    unmatched_candidate: tuple[str, ...]
    matched_by: Mapping[str, int]
    data: str
    batches: int
    worst_batch: int
    passes: int
    backend: str
    batch: Mapping[str, np.ndarray] = field(default_factory=lambda: MappingProxyType({}), repr=False, compare=False)
    """The worst batch: what the reference was fed."""

    @property
    def diverges(self) -> bool:
        """Whether an output is beyond its tolerance."""
        return any(output.diverges for output in self.outputs)

    def sentence(self) -> str:
        """The result in one sentence."""
        worst = max(self.outputs, key=lambda output: _order(output.distance.rel_l2))
        said = f"output {worst.reference!r} is {_decibels(worst.distance)} from the reference"
        if not self.diverges:
            return f"No divergence: {said}, within the tolerance."
        if not self.culprits:
            return f"Divergence without a culprit: {said}, and no single node stands out."
        first = self.culprits[0]
        place = (first.candidate_nodes or first.reference_nodes or (first.candidate_value,))[0]
        return f"{first.kind.value.capitalize()} at {place} ({first.op_type}): {said}."

    def to_json(self) -> dict[str, Any]:
        """The result without arrays; None for NaN and infinity."""
        found: dict[str, Any] = finite(
            {
                "diverges": self.diverges,
                "sentence": self.sentence(),
                "data": self.data,
                "batches": self.batches,
                "worst_batch": self.worst_batch,
                "passes": self.passes,
                "backend": self.backend,
                "culprits": [_culprit(each) for each in self.culprits],
                "outputs": [
                    {
                        "reference": each.reference,
                        "candidate": each.candidate,
                        "tolerance": each.tolerance,
                        "diverges": each.diverges,
                        **_distance(each.distance),
                    }
                    for each in self.outputs
                ],
                "first_divergence": self.first_divergence,
                "begins": [{**vars(each), "fault": each.fault.value} for each in self.begins],
                "swallowed": [vars(each) for each in self.swallowed],
                "tensors": [_tensor(each) for each in self.tensors],
                "matched_by": dict(self.matched_by),
                "unmatched": {
                    "reference": list(self.unmatched_reference),
                    "candidate": list(self.unmatched_candidate),
                },
            }
        )
        return found


def _culprit(culprit: Culprit) -> dict[str, Any]:
    plain = {name: value for name, value in vars(culprit).items() if name not in ("recorded", "remedy", "kind")}
    said = culprit.remedy
    remedy = {
        "text": said.text,
        "options": dict(said.options),
        "repair": said.repair,
        "plan_edit": said.plan_edit(),
    }
    return {"kind": culprit.kind.value, **plain, "remedy": remedy}


def _tensor(tensor: MatchedTensor) -> dict[str, Any]:
    plain = {name: value for name, value in vars(tensor).items() if name != "distance"}
    return {**plain, **_distance(tensor.distance)}


def _distance(distance: TensorDistance) -> dict[str, Any]:
    return {**vars(distance), "sqnr_db": distance.sqnr_db}


def _order(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _decibels(distance: TensorDistance) -> str:
    if not math.isfinite(distance.rel_l2):
        return "infinitely far (NaN or infinity)"
    return f"{distance.sqnr_db:.1f} dB"
