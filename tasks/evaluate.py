"""Stage: how far the converted model's outputs are from the source's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from autocast_core.evaluate.fidelity import Fidelity

if TYPE_CHECKING:
    pass

FEW = 4
"""Up to so many batches, preparing weights for fast execution does not pay."""


@dataclass(frozen=True)
class Evaluated:
    """Fidelities by the prefix of their metrics, task metrics where the data has labels, on which data
    (``evaluation``, ``calibration``, ``random``), and what was not measured and why."""

    data: str
    digest: str | None
    batches: int
    fidelity: Mapping[str, Fidelity] = field(default_factory=dict)
    task: Mapping[str, float] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()

    @property
    def metrics(self) -> dict[str, float]:
        """Every number under its metric name."""
        found: dict[str, float] = {}
        for prefix, fidelity in self.fidelity.items():
            found |= fidelity.metrics(prefix)
        return {**found, **self.task}

    @property
    def backend(self) -> str:
        """What measured ``fidelity.*``; empty where nothing did."""
        return self.fidelity["fidelity"].backend if "fidelity" in self.fidelity else ""
