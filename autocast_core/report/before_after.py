"""The before-and-after table of a conversion, from the metrics of its run: for reports, cards and the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from autocast_core.engine.validation import of_fp32
from autocast_core.evaluate.metric_names import NOISE_FLOOR, TASK, of_worst_output
from autocast_core.report.text import number, size

_ESTIMATED = {"engine": "kernels of {}", "fusion": "a model of fusion"}
"""What estimated times are of, by the first part of their metrics' names."""
_NOISE_QUANTITY = "Noise floor: FP32 without graph optimisation"


@dataclass(frozen=True)
class Measured:
    """A number as people read it, and the name under which the run's metrics have it in full."""

    metric: str
    text: str


Cell = tuple[Measured | str, ...]
"""One cell of the table: text, and numbers that the run's metrics have."""


def plain(cell: Cell) -> str:
    """The cell as text."""
    return "".join(part.text if isinstance(part, Measured) else part for part in cell)


Kind = Literal["size", "nodes", "casts", "accuracy", "noise floor", "task", "latency", "estimated time"]


@dataclass(frozen=True)
class QuantityChange:
    """One line of the table: what is compared, of which kind that is, and what measured it."""

    kind: Kind
    quantity: str
    before: Cell
    after: Cell
    backend: str = ""


def changes(
    metrics: Mapping[str, float], precision: str, backends: Mapping[str, str], engine: str = "TensorRT"
) -> Iterator[QuantityChange]:
    """Size, node share, casts, accuracy, noise floor, the task's metrics, latency and its estimate, as far as `metrics`
    have them.

    `precision` is what the nodes were lowered to; `backends` says by prefix of its metrics (``fidelity``,
    ``fidelity_onnxruntime``, ``noise_floor``) what measured each fidelity that is shown, the task's first; `engine` is
    what measured latency, and built the engine whose time is estimated.
    """
    measured = {name: Measured(name, number(value)) for name, value in metrics.items()}
    if "model/bytes_before" in metrics:
        yield _size(metrics)
    if "nodes/low_precision" in metrics:
        yield _nodes(metrics, precision)
    if "casts/inserted" in metrics:
        yield QuantityChange("casts", "Casts inserted", ("–",), (measured["casts/inserted"],))
    for prefix, backend in backends.items():
        yield from _worst(prefix, measured, backend)
    first = next(iter(backends.values()), "")
    for name in metrics:
        reference = f"{name}_fp32"
        if name.startswith(f"{TASK}/") and reference in metrics:
            quantity = f"Task: {name.removeprefix(f'{TASK}/')}"
            yield QuantityChange("task", quantity, (measured[reference],), (measured[name],), first)
    latencies = [measured.get(f"tensorrt/latency_ms/{kind}") for kind in ("fp32", "mixed")]
    if latencies[0] is not None and latencies[1] is not None:
        yield QuantityChange("latency", "Latency, median", (latencies[0], " ms"), (latencies[1], " ms"), engine)
    for name in metrics:
        room, _, device = name.partition("/estimated_ms/")
        if room in _ESTIMATED:
            beside = measured.get(of_fp32(name))
            before: Cell = ("–",) if beside is None else (beside, " ms")
            backend = f"estimate: roofline over {_ESTIMATED[room].format(engine)}"
            after: Cell = (measured[name], " ms")
            yield QuantityChange("estimated time", f"Estimated time on {device}", before, after, backend)


def _size(metrics: Mapping[str, float]) -> QuantityChange:
    before, after = int(metrics["model/bytes_before"]), int(metrics["model/bytes_after"])
    share = f" ({after / before:.0%})" if before else ""
    return QuantityChange(
        "size",
        "Size",
        (Measured("model/bytes_before", size(before)),),
        (Measured("model/bytes_after", size(after)), share),
    )


def _nodes(metrics: Mapping[str, float], precision: str) -> QuantityChange:
    low, fp32 = int(metrics["nodes/low_precision"]), int(metrics["nodes/fp32"])
    share = Measured("nodes/low_precision_share", f"{metrics['nodes/low_precision_share']:.2%}")
    return QuantityChange(
        "nodes",
        f"Nodes in {precision}",
        ("0",),
        (Measured("nodes/low_precision", f"{low:,}"), f" of {low + fp32:,} (", share, ")"),
    )


def _worst(prefix: str, measured: Mapping[str, Measured], backend: str) -> Iterator[QuantityChange]:
    error, ratio = (measured.get(of_worst_output(metric, prefix)) for metric in ("rel_l2", "sqnr_db"))
    kind: Kind = "noise floor" if prefix == NOISE_FLOOR else "accuracy"
    quantity = _NOISE_QUANTITY if kind == "noise floor" else "Worst output: relative L2 error, SQNR"
    left_out = measured.get(of_worst_output("nonfinite", prefix))
    note: Cell = (", ", left_out, " NaN or infinite values left out") if left_out and left_out.text != "0" else ()
    if error is not None and ratio is not None:
        yield QuantityChange(kind, quantity, ("exact",), (error, ", ", ratio, " dB", *note), backend)
