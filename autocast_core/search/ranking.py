"""In which order candidates are worth keeping in FP32, from the attribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from autocast_core.apply.placement import PrecisionCosts
from autocast_core.search.attribution import Attribution
from autocast_core.search.attribution.error_sites import ErrorSite, Step, steps
from autocast_core.search.costs.set_costs import node_costs
from autocast_core.search.costs.trade_offs import trade_offs
from autocast_core.search.search_space import SearchSpace

_DIGITS = 6
"""Of costs, behind the point: times are sums of fractions, which differ by the order of their summands."""

Kept = frozenset[str]
"""The candidates that a plan keeps in FP32."""


class Price(Protocol):
    """What sets of FP32 nodes cost, in `unit`, as a whole."""

    @property
    def unit(self) -> str: ...

    def of(self, kept: Kept) -> float:
        """The cost of a set."""
        ...


@dataclass(frozen=True)
class Ranking:
    """The candidates of `space` by what they cost and what keeping them removes.

    `sites` are the attribution's, as sets that can be kept; `steps` rank their nodes, and `places` are the nodes'
    places in that order. Where there is a `price`, it and not `costs` says which set is cheaper, and `costs` only guide
    what is tried.
    """

    space: SearchSpace
    sites: Mapping[ErrorSite, float]
    steps: tuple[Step, ...]
    places: Mapping[str, int]
    costs: PrecisionCosts
    price: Price | None = None

    @property
    def unit(self) -> str:
        """What costs are counted in."""
        return self.costs.unit if self.price is None else self.price.unit

    @property
    def everything(self) -> Kept:
        """All candidates."""
        return frozenset(self.space.candidates)

    def ordered(self, kept: Kept) -> tuple[str, ...]:
        """`kept`, the most important node first."""
        return tuple(sorted(kept, key=lambda node: self.places[node]))

    def cost(self, kept: Kept) -> tuple[float, int]:
        """What keeping these nodes costs; their number decides between equals."""
        return self._priced(kept), len(kept)

    def saved(self, kept: Kept, node: str) -> float:
        """What lowering `node` saves; less than nothing where Casts cost more than it does."""
        return round(self._priced(kept) - self._priced(self.without(kept, node)), _DIGITS)

    def _priced(self, kept: Kept) -> float:
        return round(self.costs.of(kept) if self.price is None else self.price.of(kept), _DIGITS)

    def prefix(self, length: int) -> Kept:
        """The nodes of the first `length` steps."""
        return self.space.together(node for step in self.steps[:length] for node in step.nodes) & self.everything

    def without(self, kept: Kept, node: str) -> Kept:
        """`kept` with `node` lowered, and all that must have its precision."""
        return kept - self.space.together([node])

    def returning(self, kept: Kept, node: str) -> float:
        """The share of the fully lowered model's error that the additive model expects back if `node` is lowered."""
        lowered = self.space.together([node])
        return sum(share for site, share in self.sites.items() if site <= kept and site & lowered)

    def removed(self, kept: Kept) -> float:
        """The share of the fully lowered model's error that the additive model expects `kept` to remove."""
        return sum(sorted(share for site, share in self.sites.items() if site <= kept))

    def least_important_first(self, kept: Kept) -> list[str]:
        """`kept` in the order in which the additive model would lower it."""
        return sorted(self.ordered(kept), key=lambda node: (self.returning(kept, node), -self.places[node]))


def ranked(space: SearchSpace, attribution: Attribution, costs: PrecisionCosts | None = None) -> Ranking:
    """The ranking of the candidates of `space`, one each without `costs`; without an attribution each is as good as any
    other. Where Casts cost, steps lead along the best trade-offs, since one node says little."""
    costs = node_costs(space.candidates) if costs is None else costs
    sites = _keepable(space, attribution.sites)
    found = tuple(steps(sites, space.candidates, costs.own))
    if costs.crossings:
        place = {node: index for index, node in enumerate(node for step in found for node in step.nodes)}
        found = _steps_along(trade_offs(space, costs, sites), sites, place)
    nodes = [node for step in found for node in step.nodes]
    return Ranking(space, sites, found, {node: index for index, node in enumerate(nodes)}, costs)


def _steps_along(sets: Sequence[Kept], sites: Mapping[ErrorSite, float], place: Mapping[str, int]) -> tuple[Step, ...]:
    """The steps from each of `sets` to the next, nodes in the order of `place`."""
    total = sum(sites.values()) or 1.0
    return tuple(
        Step(
            tuple(sorted(more - less, key=place.__getitem__)),
            max(0.0, 1.0 - sum(sorted(share for site, share in sites.items() if site <= more)) / total),
        )
        for less, more in pairwise(sets)
    )


def _keepable(space: SearchSpace, sites: Mapping[ErrorSite, float]) -> dict[ErrorSite, float]:
    """The sites as sets that can be kept; without any, every node is one."""
    if not sites:
        return {space.together([node]): 1.0 for node in space.candidates}
    everything = frozenset(space.candidates)
    found: dict[ErrorSite, float] = {}
    for site, share in sites.items():
        together = space.together(site) & everything
        found[together] = found.get(together, 0.0) + share
    return found
