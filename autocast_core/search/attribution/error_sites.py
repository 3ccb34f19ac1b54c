"""Where rounding errors enter a lowered model, and which nodes must be FP32 so that they do not.

A tensor is rounded if its producer is low, and again wherever a low node reads it; operators that only hand numbers on
(families.HANDS_ON) neither add an error nor take one away. So the error of rounding a tensor on its way from the node
that computes it to one that computes with it is gone exactly if both, and all that lies between, are FP32; that of
rounding a node's weights if the node is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

ErrorSite = frozenset[str]
"""Node ids that must all be FP32 for an error to vanish."""


@dataclass(frozen=True)
class Step:
    """Nodes to keep in FP32 on top of all earlier steps', and the share of the error that is predicted to remain."""

    nodes: tuple[str, ...]
    remaining: float


def steps(
    sites: Mapping[ErrorSite, float], order: Sequence[str], weight: Mapping[str, float] | None = None
) -> list[Step]:
    """The nodes in `order` ranked: each step adds those that remove the most error for what they cost.

    `sites` are shares of the output error. A node costs 1, or its entry in `weight`. Ties are broken by `order`. Nodes
    that remove nothing come last, one a step, in reverse order.
    """
    place = {node: index for index, node in enumerate(order)}
    costs = weight or {}
    open_sites = {site: share for site, share in sites.items() if site and share > 0.0 and site <= place.keys()}
    touching: dict[str, set[ErrorSite]] = {}
    for site in open_sites:
        for node in site:
            touching.setdefault(node, set()).add(site)
    kept: set[str] = set()
    remaining = sum(sites.values())
    total = remaining or 1.0
    found: list[Step] = []
    values: dict[ErrorSite, tuple[float, tuple[int, ...]]] = {}
    stale = set(open_sites)
    while open_sites:
        for site in stale & open_sites.keys():
            values[site] = _value(site, kept, open_sites, touching, costs, place)
        best = min(open_sites, key=lambda site: (-values[site][0], values[site][1]))
        added = best - kept
        kept |= added
        touched = {site for node in added for site in touching[node]}
        for site in [site for site in touched if site in open_sites and site <= kept]:
            remaining -= open_sites.pop(site)
        stale = {other for site in touched for node in site for other in touching[node]}
        found.append(Step(tuple(sorted(added, key=place.__getitem__)), max(0.0, remaining / total)))
    rest = [node for node in reversed(order) if node not in kept]
    return found + [Step((node,), found[-1].remaining if found else 1.0) for node in rest]


def _value(
    site: ErrorSite,
    kept: set[str],
    open_sites: Mapping[ErrorSite, float],
    touching: Mapping[str, Iterable[ErrorSite]],
    costs: Mapping[str, float],
    place: Mapping[str, int],
) -> tuple[float, tuple[int, ...]]:
    """The share removed for each unit of cost by keeping `site`, and where it stands."""
    added = site - kept
    # Nothing but the order of summation could differ between runs; sorted, it does not.
    gained = {other for node in added for other in touching[node] if other in open_sites and other - kept <= added}
    gain = sum(sorted(open_sites[other] for other in gained))
    cost = sum(costs.get(node, 1.0) for node in added) or 1e-9
    return gain / cost, tuple(sorted(place[node] for node in added))
