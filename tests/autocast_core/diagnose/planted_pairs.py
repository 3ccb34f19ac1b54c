"""Pairs of models with one fault each that a diagnosis must name first."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle

import onnx

from autocast_core.diagnose import Culprit, Diagnosis
from tests.autocast_core.diagnose.diagnosed import diagnosed
from tests.autocast_core.diagnose.disguises import FP16, FP32
from tests.autocast_core.diagnose.planted_bases import BASES, Base
from tests.autocast_core.diagnose.planted_faults import NUMERIC, with_fault, with_wrong_candidate
from tests.autocast_core.diagnose.recorded_models import recorded, recorded_names

_MOST_NODES = 12
_WITHOUT_FAULT = {
    ("attention", "underflow_of_a_guard", "converted"): "fp16",
    ("convolution", "overflow", "optimised"): "raised_renamed",
}
"""Disguises that take the fault away, by raising the guard or folding the factors, and others instead."""


@dataclass(frozen=True)
class PlantedPair:
    """A pair by the names of its base, fault and disguise."""

    base: str
    fault: str
    disguise: str

    def __str__(self) -> str:
        return f"{self.base}-{self.fault}-{self.disguise}"

    def pair(self) -> tuple[onnx.ModelProto, onnx.ModelProto, Base, tuple[str, ...]]:
        """Reference, candidate, base, and the reference's nodes or tensors to blame."""
        base = BASES[self.base]()
        if self.fault in NUMERIC:
            fault = NUMERIC[self.fault]
            reference = with_fault(base, fault)
            candidate, culprits = reference, fault.culprits
        else:
            reference = base.model
            candidate, culprits = with_wrong_candidate(base, self.fault)
        if self in RECORDED:
            return reference, recorded(f"{self.base}.{self.fault}.{self.disguise}", reference), base, culprits
        return reference, {**FP16, **FP32}[self.disguise](candidate), base, culprits

    def diagnosed(self) -> tuple[Diagnosis, tuple[str, ...]]:
        """The diagnosis, and what is to blame."""
        reference, candidate, base, culprits = self.pair()
        return diagnosed(reference, candidate, base.data), culprits


def names(culprit: Culprit, blamed: tuple[str, ...]) -> bool:
    """Whether a culprit is what was planted: its tensor, or one of at most 12 nodes."""
    nodes = {name.removeprefix("graph/") for name in culprit.reference_nodes}
    return culprit.reference_value in blamed or (len(nodes) <= _MOST_NODES and bool(nodes & set(blamed)))


def _planted() -> Iterator[PlantedPair]:
    kinds, others = cycle(FP16), cycle((*FP32, *FP16))
    for base in ("mlp", "attention", "convolution", "gated"):
        for fault in NUMERIC:
            disguise = next(kinds)
            yield PlantedPair(base, fault, _WITHOUT_FAULT.get((base, fault, disguise), disguise))
        next(kinds)
    for fault in ("cast_to_integers", "wrong_axis"):
        for base in BASES:
            yield PlantedPair(base, fault, next(others))
    for disguise in ("fp16", "renamed", "optimised_fp32", "converted", "renamed_fp32"):
        yield PlantedPair("attention", "lost_mask", disguise)
    for disguise in ("fp16", "renamed_fp32", "converted"):
        yield PlantedPair("embedding", "cast_of_indices", disguise)


RECORDED = tuple(PlantedPair(*name.split(".")) for name in recorded_names())
"""Of models that other tools made of the same references."""
PAIRS = (*_planted(), *RECORDED)
