"""What became of one conversion, and the summary of many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """How far one conversion could be judged, for the summary, or the `defect` that it has."""

    variant: str
    judgement: str
    defect: str | None = None


def summary(texts: Iterable[str]) -> str:
    """How many conversions came to which judgement, from the texts that tests recorded."""
    counts = Counter(texts)
    parts = [f"{count} {text}" for text, count in sorted(counts.items())]
    return f"{counts.total()} conversions: " + "; ".join(parts)
