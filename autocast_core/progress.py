"""How long work reports how far it is; the rim (terminal, log, orchestrator) decides how that looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """`done` of `total` `unit`s of `stage` are finished; `total` is None where it is not known."""

    stage: str
    done: float
    total: float | None = None
    unit: str = ""


ProgressCallback = Callable[[Progress], None]


def silent(_: Progress) -> None:
    """Reports nothing."""
