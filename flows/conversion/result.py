"""The result of a conversion: the values behind `autocast run --json`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from autocast_core.errors import GateError
from autocast_core.evaluate import GateResult
from autocast_core.json_values import finite


@dataclass(frozen=True)
class ConversionResult:
    """One conversion. `output` is None where nothing was published, `registered` where nothing was registered;
    `plan` is the URI of the plan, of a dry run the plan itself; `timings` are seconds by stage; `repaired` says in one
    line what a measured decision did, where it did something; `reused` that an earlier conversion, of the run `run_id`,
    made all this."""

    source: str
    source_sha256: str
    summary: str
    metrics: Mapping[str, float]
    run_id: str | None = None
    output: str | None = None
    output_sha256: str | None = None
    plan: Any = None
    gates: tuple[GateResult, ...] = ()
    registered: str | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    repaired: str | None = None
    reused: bool = False

    @property
    def passed(self) -> bool:
        """Whether every gate holds."""
        return all(gate.passed for gate in self.gates)

    def __str__(self) -> str:
        """The result in one line, for a log: what was converted, by which gates it passed, and where it is."""
        missed = [gate.expression for gate in self.gates if not gate.passed]
        judged = f"misses {', '.join(missed)}" if missed else "passes its gates" if self.gates else ""
        places = (f"{name} {value}" for name, value in (("version", self.registered), ("output", self.output)) if value)
        again = f"made by the earlier run {self.run_id}" if self.reused else ""
        return "; ".join(part for part in (self.summary, judged, again, *dict.fromkeys(places)) if part)

    def to_json(self) -> dict[str, Any]:
        """Plain values, without NaN or infinity (None)."""
        plain: dict[str, Any] = finite(asdict(self))
        return plain

    @staticmethod
    def from_json(raw: Mapping[str, Any]) -> ConversionResult:
        """The inverse of `to_json`, with NaN for a metric without a value."""
        metrics = {name: math.nan if value is None else value for name, value in raw["metrics"].items()}
        gates = tuple(GateResult(**gate) for gate in raw["gates"])
        return ConversionResult(**{**raw, "metrics": metrics, "gates": gates, "warnings": tuple(raw["warnings"])})


class GateMissedError(GateError):
    """The model misses gates; `result` is the conversion as far as it went."""

    def __init__(self, message: str, result: ConversionResult) -> None:
        super().__init__(message)
        self.result = result
