"""What the map of report.html draws beyond the node table's data: modules, ends, casts, and the engine's kernels.

The layout is made by the page itself, of one scope when it is opened: scripts in pages/templates/report/.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autocast_core.engine.devices import DeviceFigures, devices
from autocast_core.engine.roofline import kernel_seconds
from autocast_core.engine.validation import MIXED, Validation
from autocast_core.engine.view import Kernel
from autocast_core.report.content import ReportInput
from autocast_core.report.figures.engine_section import element_types
from autocast_core.report.text import size
from autocast_core.text import visible

_NAME = 80
_FLOATS = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16", "double": "fp64"}


def map_data(report: ReportInput, string: Callable[[str], int], tensor: Callable[[str], int]) -> dict[str, Any]:
    """What the map reads; `string` and `tensor` give the places of texts and of tensors' names.

    ``modules`` (only where exporters tell them) has a string for each node; ``ends`` are the inputs and the outputs;
    ``casts`` rows [tensor, node, type], -1 for an output of the model; ``passed_on`` rows [tensor, the one that a Cast
    of the source makes it of]; ``kernels`` rows [name, kind and types, microseconds or null, 1 for fused attention,
    nodes]; ``without_kernel`` rows [reason, nodes].
    """
    places = {decision.id: place for place, decision in enumerate(report.plan.nodes)}
    found = report.network
    modules = {node.id: node.module for node in found.nodes if node.module}
    return {
        **({"modules": [string(visible(modules.get(node_id, ""))) for node_id in places]} if modules else {}),
        "ends": [[tensor(name) for name in names] for names in (found.inputs, found.outputs)],
        "casts": [
            [tensor(cast.tensor), places.get(cast.reader, -1) if cast.reader else -1, _FLOATS.get(cast.to, cast.to)]
            for cast in found.casts
            if cast.reader is None or cast.reader in places
        ],
        "passed_on": [[tensor(made), tensor(read)] for made, read in found.passed_on],
        **_kernels(report.validation, places),
    }


def _kernels(validation: Validation | None, places: dict[str, int]) -> dict[str, list[Any]]:
    """The kernels of the mixed engine, as it was built or as a model of fusion expects it."""
    view = validation.engine_view if validation is not None else None
    if validation is None or view is None:
        return {"kernels": [], "without_kernel": []}
    estimate = validation.estimates.get(MIXED)
    device = devices().get(estimate.device) if estimate is not None else None
    without: dict[str, list[int]] = {}
    for node, reason in view.without_kernel.items():
        if node in places:
            without.setdefault(reason, []).append(places[node])
    return {
        "kernels": [_kernel(kernel, device, places) for kernel in view.kernels],
        "without_kernel": [[visible(reason), nodes] for reason, nodes in without.items()],
    }


def _kernel(kernel: Kernel, device: DeviceFigures | None, places: dict[str, int]) -> list[Any]:
    seconds = None if device is None else kernel_seconds(kernel, device)
    traffic = "" if kernel.traffic_bytes is None else f", {size(kernel.traffic_bytes)} of traffic"
    return [
        visible(kernel.name, _NAME),
        f"{visible(kernel.kind, _NAME)}, {element_types(kernel)}{traffic}",
        None if seconds is None else round(1e6 * seconds, 3),
        int(kernel.fused_attention),
        [places[node] for node in kernel.nodes if node in places],
    ]
