"""An estimate of the time of an engine on a device that is not here: a roofline over its kernels.

A kernel takes at least as long as its bytes take through the memory and its operations through the units of its
operands' type (Williams, Waterman and Patterson, "Roofline", CACM 52(4), 2009), and then the launch of the next:

    max(bytes / bandwidth, operations / rate of the type) + launch

Kernels of a stream follow each other, streams overlap, and all share the device's memory and units: the engine takes
as long as its longest stream, but no less than all of its bytes, or all of its operations, take.

What it does not know: caches (small tensors stay in them, then it is too slow), how far a kernel stays behind the
peaks (it is too fast), waits between streams, and what the runtime picks. It ranks engines; it measures nothing.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from autocast_core.engine.devices import DeviceFigures
from autocast_core.engine.view import EngineView, Kernel


@dataclass(frozen=True)
class Estimate:
    """The estimated time of an engine on `device` (its key), in milliseconds; `source` is where the figures of the
    device are from.

    Over all kernels, streams put one after the other: `memory_ms` of those that memory holds up, `compute_ms` of those
    that their operations hold up, and `launch_ms`.
    """

    device: str
    name: str
    ms: float
    memory_ms: float
    compute_ms: float
    launch_ms: float
    source: str


def estimated(view: EngineView, device: DeviceFigures) -> Estimate | str:
    """The estimate of the engine's time on `device`, or why there is none: shapes that only the run decides, a type
    that the device has no units for."""
    streams: dict[int, float] = defaultdict(float)
    moved = computed = memory_bound = compute_bound = 0.0
    for kernel in view.kernels:
        times = _times(kernel, device)
        if isinstance(times, str):
            return times
        memory, compute = times
        streams[kernel.stream] += max(times) + device.launch
        moved, computed = moved + memory, computed + compute
        if memory >= compute:
            memory_bound += memory
        else:
            compute_bound += compute
    seconds = max(*streams.values(), moved, computed, 0.0)
    launches = len(view.kernels) * device.launch
    return Estimate(
        device=device.key,
        name=device.name,
        ms=1e3 * seconds,
        memory_ms=1e3 * memory_bound,
        compute_ms=1e3 * compute_bound,
        launch_ms=1e3 * launches,
        source=device.source,
    )


def kernel_seconds(kernel: Kernel, device: DeviceFigures) -> float | None:
    """The estimated time of one kernel and its launch; None where it cannot be told."""
    times = _times(kernel, device)
    return None if isinstance(times, str) else max(times) + device.launch


def _times(kernel: Kernel, device: DeviceFigures) -> tuple[float, float] | str:
    """Seconds for the kernel's bytes and for its operations, or why they cannot be told."""
    if kernel.traffic_bytes is None:
        return f"the size of what kernel {kernel.name} reads and writes is known at run time only"
    memory = kernel.traffic_bytes / device.bandwidth
    if not kernel.flops:
        return memory, 0.0
    rate = device.rates.get(kernel.operand_type)
    if rate is None:
        return f"{device.name} has no rate for products of {kernel.operand_type or 'unknown types'} ({kernel.name})"
    return memory, kernel.flops / rate
