"""The data file devices.json, typed: what devices can do at most, from their data sheets."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType

DEFAULT_DEVICE = "l4"
"""The commonest device for inference that TensorRT for RTX builds engines for without one at hand."""


@dataclass(frozen=True)
class DeviceFigures:
    """A device: its memory bandwidth in bytes a second; by element type of the operands (as ONNX names it) the
    operations a second of dense products; the seconds from the start of a short kernel to that of the next; and where
    bandwidth and rates are from."""

    key: str
    name: str
    bandwidth: float
    rates: Mapping[str, float]
    launch: float
    source: str


@functools.lru_cache(maxsize=1)
def devices() -> Mapping[str, DeviceFigures]:
    """The devices that are known, by key, read once."""
    raw = json.loads(resources.files("autocast_core.engine").joinpath("devices.json").read_text(encoding="utf-8"))
    launch = raw["launch"]["microseconds"] * 1e-6
    return MappingProxyType(
        {
            key: DeviceFigures(
                key,
                each["name"],
                each["bandwidth"] * 1e9,
                MappingProxyType({type_: rate * 1e12 for type_, rate in each["rates"].items()}),
                launch,
                each["source"],
            )
            for key, each in raw["devices"].items()
        }
    )
