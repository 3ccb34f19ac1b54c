"""What a target engine said of a model: plain values, so that reports need no engine."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from autocast_core.engine.devices import DeviceFigures
from autocast_core.engine.roofline import Estimate, estimated
from autocast_core.engine.view import EngineView

Depth = Literal["none", "parsed", "built", "executed"]
MIXED, FP32 = "mixed", "fp32"
"""The two engines of a validation."""
DEPTHS: tuple[Depth, ...] = ("none", "parsed", "built", "executed")
_DISAGREEMENTS = frozenset({"TYPE", "OUTPUT_TYPE", "PLAN"})
"""Codes of findings where the engine took the model, in other types than it should have."""


@dataclass(frozen=True)
class Finding:
    """One refusal or disagreement: the id of the ONNX node where it is known, the engine's code and its own words."""

    node: str
    op: str
    code: str
    words: str


@dataclass(frozen=True)
class LayerTypes:
    """The element types, as ONNX names them (``float16``), of a node's outputs: in the engine and in the model."""

    node: str
    op: str
    layer: str
    types: tuple[str, ...]
    expected: tuple[str, ...]


@dataclass(frozen=True)
class Spread:
    """A measured quantity: the median and the quartiles of `samples` measurements."""

    median: float
    lower: float
    upper: float
    samples: int

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        """The spread of at least one value."""
        if len(values) == 1:
            return Spread(values[0], values[0], values[0], 1)
        lower, middle, upper = statistics.quantiles(values, n=4, method="inclusive")
        return Spread(middle, lower, upper, len(values))


@dataclass(frozen=True)
class Execution:
    """What an engine did on a GPU.

    `latency_ms` and `speedup` come from runs of the FP32 and the mixed engine in turns (TF32 off in the former);
    `speedup` is the median of the ratios of neighbouring runs. `memory_bytes` is what loading and running an engine
    takes of the device. `fidelity` holds metrics by name, against `reference`.
    """

    device: str
    compute_capability: str
    driver: str
    reference: str
    batches: int
    fidelity: Mapping[str, float] = field(default_factory=dict)
    latency_ms: Mapping[str, Spread] = field(default_factory=dict)
    speedup: Spread | None = None
    memory_bytes: Mapping[str, int] = field(default_factory=dict)
    engine_bytes: Mapping[str, int] = field(default_factory=dict)

    def metrics(self) -> dict[str, float]:
        """Every number under its metric name."""
        found: dict[str, float] = dict(self.fidelity)
        found |= {f"tensorrt/latency_ms/{kind}": each.median for kind, each in self.latency_ms.items()}
        found |= {f"tensorrt/memory_bytes/{kind}": count for kind, count in self.memory_bytes.items()}
        if self.speedup is not None:
            found["tensorrt/speedup"] = self.speedup.median
            found["tensorrt/speedup_lower"], found["tensorrt/speedup_upper"] = self.speedup.lower, self.speedup.upper
        return found

    @staticmethod
    def from_json(raw: Mapping[str, Any]) -> Execution:
        """The execution that `Validation.to_json` wrote."""
        values = dict(raw)
        values["latency_ms"] = {kind: Spread(**each) for kind, each in raw["latency_ms"].items()}
        values["speedup"] = Spread(**raw["speedup"]) if raw["speedup"] else None
        values.pop("layers", None)  # of before the engine view had them
        return Execution(**values)


@dataclass(frozen=True)
class Validation:
    """How deep a target engine looked at a model and what it found.

    `depth` is the deepest stage that succeeded; `skipped` says why the next ones were not tried; `findings` why one
    failed. `layers` has one entry per node whose network tensor was found. `engine_view` is there where an engine was
    built and its log, or the inspector where it was executed, could be read; else `skipped` says why not. `fp32_view`
    is that of the FP32 model's engine, where it was built too. Where no engine was built and none refused, both may be
    a model of fusion's, which they say. `estimates` are of the time of both, by ``mixed`` and
    ``fp32``. `accepted` is the verdict within `depth`.
    """

    depth: Depth = "none"
    skipped: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    layers: tuple[LayerTypes, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    package: str | None = None
    engine_bytes: int | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    log: tuple[str, ...] = ()
    """What the engine said while parsing and building, details aside."""
    execution: Execution | None = None
    engine_view: EngineView | None = None
    fp32_view: EngineView | None = None
    estimates: Mapping[str, Estimate] = field(default_factory=dict)

    @property
    def accepted(self) -> bool:
        """Whether everything that was tried succeeded; False also where nothing was tried."""
        return self.depth != "none" and not self.findings

    @property
    def refusal(self) -> Finding | None:
        """A finding that is a refusal, not a disagreement of types: the first that names a node, else the first."""
        refusals = [each for each in self.findings if each.code not in _DISAGREEMENTS]
        return next((each for each in refusals if each.node), refusals[0] if refusals else None)

    def estimated_on(self, device: DeviceFigures) -> Validation:
        """This validation with the estimates of its engines' times on `device`, or with why there is none."""
        estimates, reasons = {}, []
        for side, view in ((MIXED, self.engine_view), (FP32, self.fp32_view)):
            found = estimated(view, device) if view is not None else None
            if isinstance(found, Estimate):
                estimates[side] = found
            elif found is not None:
                reasons.append(f"estimate of the {side} engine's time: {found}")
        return replace(self, estimates=estimates, skipped=(*self.skipped, *reasons))

    def metrics(self) -> dict[str, float]:
        """Every number under its metric name; ``tensorrt/depth`` counts the stages: 0 none, 1 parsed, 2 built, 3
        executed; it is absent where TensorRT is. Of the FP32 engine: ``engine/fp32/*`` or ``fusion/fp32/*``."""
        known = self.package is not None or self.depth != "none"
        found: dict[str, float] = {"tensorrt/depth": DEPTHS.index(self.depth)} if known else {}
        if self.engine_bytes is not None:
            found["tensorrt/engine_bytes"] = self.engine_bytes
        for side, view in ((MIXED, self.engine_view), (FP32, self.fp32_view)):
            of_engine = view.metrics() if view is not None else {}
            if view is not None and side in self.estimates:
                of_engine[f"{view.prefix}/estimated_ms/{self.estimates[side].device}"] = self.estimates[side].ms
            found |= of_engine if side == MIXED else {of_fp32(name): value for name, value in of_engine.items()}
        return found | (self.execution.metrics() if self.execution is not None else {})

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)

    @staticmethod
    def from_json(raw: Mapping[str, Any]) -> Validation:
        """The validation that `to_json` wrote."""
        return Validation(
            depth=raw["depth"],
            skipped=tuple(raw["skipped"]),
            findings=tuple(Finding(**item) for item in raw["findings"]),
            layers=tuple(
                LayerTypes(item["node"], item["op"], item["layer"], tuple(item["types"]), tuple(item["expected"]))
                for item in raw["layers"]
            ),
            versions=dict(raw["versions"]),
            package=raw["package"],
            engine_bytes=raw["engine_bytes"],
            seconds=dict(raw["seconds"]),
            log=tuple(raw["log"]),
            execution=Execution.from_json(raw["execution"]) if raw.get("execution") else None,
            engine_view=EngineView.from_json(raw["engine_view"]) if raw.get("engine_view") else None,
            fp32_view=EngineView.from_json(raw["fp32_view"]) if raw.get("fp32_view") else None,
            estimates={side: Estimate(**each) for side, each in raw.get("estimates", {}).items()},
        )


def of_fp32(metric: str) -> str:
    """The name of the FP32 engine's metric beside that of the mixed one's, ``engine/*`` or ``fusion/*``."""
    return metric.replace("/", "/fp32/", 1)
