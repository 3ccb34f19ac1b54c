"""What a set of FP32 nodes costs: what each node costs by itself, and what Casts cost where types meet."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True)
class Crossing:
    """A tensor and who makes and reads it: each type in which it is read and not made costs `cast` once.

    `maker` and `readers` are node ids or names of `PrecisionCosts.fixed`; without a maker (a graph input that may have
    either type) only readers of both types cost a Cast.
    """

    tensor: str
    maker: str | None
    readers: tuple[str, ...]
    cast: float


@dataclass(frozen=True)
class PrecisionCosts:
    """The cost of a set of FP32 nodes, in `unit` (``nodes``, ``bytes``), beside that of none.

    `own` has by node what FP32 costs more than the low type, Casts aside. `fixed` says of nodes that no set may decide,
    and of makers and readers that are no nodes, whether they are FP32.
    """

    unit: str
    own: Mapping[str, float]
    crossings: tuple[Crossing, ...] = ()
    fixed: Mapping[str, bool] = field(default_factory=dict)

    def of(self, kept: AbstractSet[str]) -> float:
        """What keeping these nodes costs, Casts included."""
        return sum(sorted(self.own.get(node, 0.0) for node in kept)) + self.casts(kept)

    def casts(self, kept: AbstractSet[str]) -> float:
        """The part of Casts, those at fixed nodes included."""
        return sum(sorted(each.cast * self._number(each, kept) for each in self.crossings))

    def _number(self, crossing: Crossing, kept: AbstractSet[str]) -> int:
        """How many Casts the tensor needs: each type that is read and not made takes one."""
        read = {self._is_wide(reader, kept) for reader in crossing.readers}
        if crossing.maker is None:
            return len(read) - 1
        return len(read - {self._is_wide(crossing.maker, kept)})

    def _is_wide(self, name: str, kept: AbstractSet[str]) -> bool:
        known = self.fixed.get(name)
        return name in kept if known is None else known

    @cached_property
    def crossings_of(self) -> Mapping[str, tuple[int, ...]]:
        """By node, the places in `crossings` of the tensors that it makes or reads."""
        found: dict[str, list[int]] = {}
        for place, each in enumerate(self.crossings):
            for name in {*each.readers, *(() if each.maker is None else (each.maker,))}:
                found.setdefault(name, []).append(place)
        return {name: tuple(places) for name, places in found.items()}

    @cached_property
    def neighbours(self) -> Mapping[str, frozenset[str]]:
        """By node, those with which it shares a tensor, fixed ones aside."""
        found: dict[str, set[str]] = {}
        for each in self.crossings:
            ends = {name for name in (each.maker, *each.readers) if name is not None and name not in self.fixed}
            for name in ends:
                found.setdefault(name, set()).update(ends - {name})
        return {name: frozenset(others) for name, others in found.items()}
