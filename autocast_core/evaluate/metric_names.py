"""The names of metrics, which MLflow groups by their parts between ``/``, and what they were while they had dots.

What was compared with the source comes first, then whose figure it is, then what it says:

- ``fidelity/sqnr_db``: of the worst output, over all batches;
- ``fidelity/worst_batch/sqnr_db``: of the worst batch of any output;
- ``fidelity/outputs/OUTPUT/sqnr_db``, ``fidelity/outputs/OUTPUT/worst_batch/sqnr_db``: of one output.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

SIMULATION = "fidelity"
"""Prefix of what the simulated model's outputs give: FP32 accumulation, 16-bit storage."""
ONNXRUNTIME = "fidelity_onnxruntime"
"""Prefix of what ONNX Runtime's outputs give; its CPU provider computes FP16 models in FP32."""
TENSORRT = "tensorrt/fidelity"
"""Prefix of what TensorRT's outputs give on a GPU."""
NOISE_FLOOR = "noise_floor"
"""Prefix of what the source's own outputs give without graph optimisation: errors below it say nothing."""
TASK = "task"
"""Prefix of accuracy, of the user's own metric and of what judges find."""
WORST_BATCH = "worst_batch"
"""What comes before a metric's name, in names and in gates, where it is that of the worst batch."""
_OUTPUTS = "outputs"
_BOUND = "fidelity_bound_"
_SPARED = "_but_"

Value = TypeVar("Value")


def of_worst_output(metric: str, prefix: str = SIMULATION) -> str:
    """The name of the worst output's `metric`, over all batches."""
    return f"{prefix}/{metric}"


def of_worst_batch(metric: str, prefix: str = SIMULATION) -> str:
    """The name of `metric` of any output's worst batch."""
    return f"{prefix}/{WORST_BATCH}/{metric}"


def folder_of_output(output: str, prefix: str = SIMULATION) -> str:
    """What the names of one output's metrics begin with; `output` as `output_metric_names` says."""
    return f"{prefix}/{_OUTPUTS}/{output}"


def of_output(output: str, metric: str, prefix: str = SIMULATION, *, worst_batch: bool = False) -> str:
    """The name of one output's `metric`, over all batches or of its worst."""
    return f"{folder_of_output(output, prefix)}/{f'{WORST_BATCH}/' if worst_batch else ''}{metric}"


def own_name(output: str, metric: str, names: Mapping[str, str], *, worst_batch: bool = False) -> str:
    """The name of the simulation's `metric` of the model's output `output`; `names` are those of all its outputs in
    metrics. The only output is the worst, and runs have it as that alone."""
    if len(names) == 1:
        return of_worst_batch(metric) if worst_batch else of_worst_output(metric)
    return of_output(names[output], metric, worst_batch=worst_batch)


def of_task(metric: str) -> str:
    """The name of a metric of accuracy or of the user's own."""
    return f"{TASK}/{metric}"


def of_judge(judge: str, metric: str, *, worst_batch: bool = False) -> str:
    """The name of what a judge finds, over all batches or in the worst."""
    return f"{TASK}/{judge}/{f'{WORST_BATCH}/' if worst_batch else ''}{metric}"


def of_worst_outputs(metrics: Mapping[str, Value], prefix: str = SIMULATION) -> dict[str, Value]:
    """Those of `metrics` that are the worst output's, with their names."""
    return {name: value for name, value in metrics.items() if name.rpartition("/")[0] == prefix}


WORST_REL_L2 = of_worst_output("rel_l2")
WORST_SQNR = of_worst_output("sqnr_db")
WORST_BATCH_SQNR = of_worst_batch("sqnr_db")


def bound_prefix(accumulate: str, spared: str = "") -> str:
    """Prefix of what the simulated model gives with 16-bit insides: a bound, not a measurement of an engine.

    `accumulate` is the way of accumulating; `spared` an operator type, or the products of attention, that is FP32
    inside all the same: what that gains is the worth of a repair.
    """
    return f"{_BOUND}{accumulate}{_SPARED}{spared}" if spared else f"{_BOUND}{accumulate}"


def bound_of(prefix: str) -> tuple[str, str] | None:
    """The way of accumulating and the spared type (or "") that `bound_prefix` made the prefix of; None for another."""
    if not prefix.startswith(_BOUND):
        return None
    accumulate, _, spared = prefix.removeprefix(_BOUND).partition(_SPARED)
    return accumulate, spared


EXTRA_KERNELS = "extra_kernels"
EXTRA_BYTES = "extra_bytes"


def of_repair(spared: str, price: str) -> str:
    """The name of a price (`EXTRA_KERNELS`, `EXTRA_BYTES`), by the model of fusion, of what `spared` names in FP32."""
    return f"fusion/fp32_inside/{spared}/{price}"


@dataclass(frozen=True)
class FidelityName:
    """What the name of a fidelity metric says; `output` is empty where it is the worst output's or the worst batch's of
    any."""

    prefix: str
    output: str
    worst_batch: bool
    metric: str


_FIDELITY = re.compile(
    rf"(?P<prefix>{TENSORRT}|{NOISE_FLOOR}|{SIMULATION}\w*)(/{_OUTPUTS}/(?P<output>[^/]+))?"
    rf"(?P<batch>/{WORST_BATCH})?/(?P<metric>\w+)"
)


def fidelity_name(name: str) -> FidelityName | None:
    """What the name of a metric says; None where it is none of a fidelity."""
    found = _FIDELITY.fullmatch(name)
    if found is None:
        return None
    return FidelityName(found["prefix"], found["output"] or "", found["batch"] is not None, found["metric"])


_DOTTED_FIDELITY = re.compile(r"(?P<prefix>tensorrt\.fidelity|noise_floor|fidelity\w*)\.(?P<whose>.+)\.(?P<metric>\w+)")
_DOTTED = re.compile(r"(?:nodes|casts|model|repair|search|task|tensorrt|engine|fusion|demo|trial)\.\S+")


def current_name(name: str) -> str:
    """What a metric of an older run, with dots in its name, is called now; `name` itself where that has not changed."""
    if name.startswith("trial.") and name != "trial.fp32":
        return f"trial/{current_name(name.removeprefix('trial.'))}"
    found = _DOTTED_FIDELITY.fullmatch(name)
    if found is None:
        joined = name.replace("tensorrt.speedup.", "tensorrt.speedup_")
        return joined.replace(".", "/") if _DOTTED.fullmatch(name) else name
    prefix, metric = found["prefix"].replace(".", "/"), found["metric"]
    if found["whose"] == "worst":
        return of_worst_output(metric, prefix)
    if found["whose"] == WORST_BATCH:
        return of_worst_batch(metric, prefix)
    output = found["whose"].removesuffix(f".{WORST_BATCH}")
    return of_output(output, metric, prefix, worst_batch=output != found["whose"])


def with_current_names(metrics: Mapping[str, Value]) -> dict[str, Value]:
    """`metrics` of a run, also of an older one, by the names of now."""
    return {current_name(name): value for name, value in metrics.items()}
