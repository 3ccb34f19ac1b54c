"""What one way of deciding makes of a net, in a cell of the table, and summed up over nets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.hazards.fidelity import EXACT, Agreement


@dataclass(frozen=True)
class Verdict:
    """Whether the net only looks like a hazard; the oracle's figures, None where there is no model; how many nodes stay
    in FP32, how many of them for nothing (None: not known); what the gates say, and whether they pass."""

    harmless: bool
    oracle: Agreement | None
    kept: int = 0
    needless: int | None = None
    gates: str = ""
    passed: bool = True

    def good(self, precision: str) -> bool:
        """Whether there is a model as good as the default gates ask for."""
        return self.oracle is not None and self.oracle.good(precision)

    def hidden(self, precision: str) -> bool:
        """Whether there is a ruined model and nothing says so."""
        return self.oracle is not None and not self.good(precision) and self.passed

    def cell(self, precision: str) -> str:
        """Fidelity, then kept nodes and those of them that are needless."""
        needless = f" ({self.needless} needless)" if self.needless else ""
        ruined = "" if self.good(precision) or self.oracle is None else "**"
        if self.oracle is None:
            return "fails" if self.gates else "-"
        return f"{ruined}{shown(self.oracle)}{ruined}, {self.kept} kept{needless}"


def shown(found: Agreement) -> str:
    """dB, or the share of equal integers."""
    if found.equal < 1.0:
        return f"{found.equal:.0%} equal"
    return "exact" if found.db >= EXACT else "not finite" if found.db < -99.0 else f"{found.db:.0f} dB"


def totals(verdicts: Mapping[str, Sequence[Verdict]], precision: str) -> Iterator[str]:
    """A line for each way of deciding."""
    for way, found in verdicts.items():
        hazards = [each for each in found if not each.harmless]
        harmless = [each for each in found if each.harmless]
        kept = sum(each.kept for each in found)
        needless = sum(each.needless or 0 for each in found)
        known = any(each.needless is not None for each in found)
        share = f"; needless: {needless} of {kept} kept ({needless / kept:.1%})" if known and kept else ""
        yield (
            f"{way}, {precision}: {sum(each.good(precision) for each in hazards)} of {len(hazards)} hazards saved, "
            f"{sum(each.hidden(precision) for each in found)} ruined without a word, "
            f"{sum(each.good(precision) for each in harmless)} of {len(harmless)} look-alikes good with "
            f"{sum(each.kept for each in harmless)} nodes kept{share}"
        )
