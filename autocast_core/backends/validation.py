"""What a target engine said of a model: plain values, so that reports need no engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Depth = Literal["none", "parsed", "built", "executed"]


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
class Validation:
    """How deep a target engine looked at a model and what it found.

    `depth` is the deepest stage that succeeded; `skipped` says why the next ones were not tried; `findings` why one
    failed. `layers` has one entry per node whose network tensor was found. `accepted` is the verdict within `depth`.
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

    @property
    def accepted(self) -> bool:
        """Whether everything that was tried succeeded; False also where nothing was tried."""
        return self.depth != "none" and not self.findings

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
        )
