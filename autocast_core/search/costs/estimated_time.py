"""The estimated time of a plan's engine as what a search minimizes: a roofline over the model of fusion.

It is an estimate for a named device, whatever engine can be built here: building one for each set would take seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from autocast_core.apply import apply_plan
from autocast_core.engine.devices import DEFAULT_DEVICE, DeviceFigures, devices
from autocast_core.engine.roofline import Estimate, estimated
from autocast_core.errors import ConfigError, DataError
from autocast_core.fusion import estimated_view, static_shapes
from autocast_core.process.garbage_collector import collected_after
from autocast_core.search.ranking import Kept
from autocast_core.search.search_space import SearchSpace

TIME = "time"
_MICROSECONDS = 1e3
"""In a millisecond."""


def device_of(cost: str) -> DeviceFigures | None:
    """The device of ``time`` (the default one) or ``time:DEVICE``; None for another cost. ConfigError for an unknown
    device."""
    name, colon, key = cost.partition(":")
    if name != TIME:
        return None
    found = devices().get(key if colon else DEFAULT_DEVICE)
    if found is None:
        raise ConfigError(f"cost {cost!r}: unknown device {key!r}; give one of {', '.join(devices())}")
    return found


@dataclass(frozen=True)
class EstimatedTime:
    """By set of FP32 nodes the estimated time on `device` in microseconds, for batches with these `shapes`."""

    model: ir.Model
    space: SearchSpace
    device: DeviceFigures
    shapes: Mapping[str, tuple[int, ...]]
    known: dict[Kept, float] = field(default_factory=dict)

    @staticmethod
    def of_batch(
        model: ir.Model, space: SearchSpace, device: DeviceFigures, feeds: Mapping[str, np.ndarray]
    ) -> EstimatedTime:
        """The times for a batch `feeds`. DataError where its shapes do not tell how large all tensors are."""
        found = EstimatedTime(model, space, device, static_shapes(model, feeds))
        found.of(frozenset())
        return found

    @property
    def unit(self) -> str:
        """What the numbers are, in words."""
        return f"µs (estimated for {self.device.name})"

    def of(self, kept: Kept) -> float:
        """The time with these candidates in FP32."""
        if kept not in self.known:
            with collected_after():
                estimate = self._estimate(kept)
            if isinstance(estimate, str):
                raise DataError(f"time cannot be estimated: {estimate}; minimize traffic instead")
            self.known[kept] = estimate.ms * _MICROSECONDS
        return self.known[kept]

    def _estimate(self, kept: Kept) -> Estimate | str:
        applied = apply_plan(self.model, self.space.plan(kept)).model
        return estimated(estimated_view(applied, self.shapes), self.device)
