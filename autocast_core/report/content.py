"""What every report speaks of, in one value, and the sentences and figures that all of them share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import onnx_ir as ir

from autocast_core.calibrate.statistics import Statistics
from autocast_core.config import Precision
from autocast_core.engine.validation import Validation
from autocast_core.graph.walk import is_counted, nodes_with_ids
from autocast_core.plan import NodeDecision, PrecisionPlan
from autocast_core.report.text import number, size
from autocast_core.search.attribution import Attribution

ERRORS = ("rel_l2", "max_abs", "mean_abs", "cosine", "sqnr_db")


class MeasuredFidelity(Protocol):
    """What reports need of a fidelity: `names` maps each output to its name in metrics."""

    @property
    def backend(self) -> str: ...

    @property
    def names(self) -> Mapping[str, str]: ...

    def metrics(self, prefix: str = "fidelity") -> dict[str, float]: ...


class CheckedGate(Protocol):
    """What reports need of a checked gate; `value` is None where nothing was measured, `reason` why it fails."""

    @property
    def expression(self) -> str: ...

    @property
    def value(self) -> float | None: ...

    @property
    def passed(self) -> bool: ...

    @property
    def reason(self) -> str: ...


@dataclass(frozen=True)
class FileFacts:
    """One model file or set of files: where it is, its contract digest, its size with external data."""

    uri: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class DataUsed:
    """The data of one purpose; `origin` as in Statistics and the tag ``autocast.evaluation_data``."""

    purpose: Literal["calibration", "evaluation"]
    origin: str
    uri: str | None = None
    digest: str | None = None
    batches: int | None = None


@dataclass(frozen=True)
class NodeWiring:
    """A node's place in the network: its own name and the names of the values it reads and writes."""

    id: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def wiring(model: ir.Model) -> tuple[NodeWiring, ...]:
    """The wiring of every node that a plan speaks of, bodies included, in the order of the graph."""
    return tuple(
        NodeWiring(
            node_id,
            node.name or "",
            tuple(value.name for value in node.inputs if value is not None and value.name),
            tuple(value.name for value in node.outputs if value.name),
        )
        for node_id, node in nodes_with_ids(model.graph)
        if is_counted(node)
    )


@dataclass(frozen=True)
class ReportInput:
    """Everything a conversion's reports show; where a part is absent they say that it was not checked.

    `fidelity` is keyed by the prefix of its metrics (``fidelity``, ``fidelity_onnxruntime``, ``tensorrt.fidelity``);
    `task` and `engine` hold further metrics under their full names (``task.*``, ``tensorrt.*``); `engine` is measured
    on `validation`'s package; `further` are metrics that no other part holds. `attribution` says which nodes the error
    comes from.
    """

    name: str
    plan: PrecisionPlan
    statistics: Statistics
    source: FileFacts
    output: FileFacts
    casts_inserted: int
    fidelity: Mapping[str, MeasuredFidelity] = field(default_factory=dict)
    task: Mapping[str, float] = field(default_factory=dict)
    engine: Mapping[str, float] = field(default_factory=dict)
    further: Mapping[str, float] = field(default_factory=dict)
    gates: Sequence[CheckedGate] = ()
    validation: Validation | None = None
    attribution: Attribution | None = None
    data: tuple[DataUsed, ...] = ()
    spec: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    wiring: tuple[NodeWiring, ...] = ()
    warnings: tuple[str, ...] = ()
    not_checked: tuple[str, ...] = ()
    run_id: str | None = None


def metrics(report: ReportInput) -> dict[str, float]:
    """Every number of the reports under its metric name; what a tracking server should log."""
    counts = report.plan.counts()
    found: dict[str, float] = {
        "nodes.total": counts.total,
        "nodes.low_precision": counts.low_precision,
        "nodes.fp32": counts.fp32,
        "nodes.low_precision_share": counts.share,
        "casts.inserted": report.casts_inserted,
        "model.bytes_before": report.source.bytes,
        "model.bytes_after": report.output.bytes,
    }
    for prefix, fidelity in report.fidelity.items():
        found |= fidelity.metrics(prefix)
    return {**report.further, **found, **report.task, **report.engine}


@dataclass(frozen=True)
class Verdict:
    """The first thing a reviewer reads."""

    passed: bool | None
    sentence: str


def verdict(report: ReportInput) -> Verdict:
    """Passed, failed, or undecided (None) where no gate was checked."""
    failed = [gate for gate in report.gates if not gate.passed]
    if not report.gates:
        return Verdict(None, "Undecided: no gate was checked.")
    if failed:
        return Verdict(False, f"Fails {len(failed)} of {_plural(len(report.gates), 'gate')}.")
    if report.validation is not None and report.validation.findings:
        return Verdict(False, f"Passes its gates, but {report.validation.package} refuses the model.")
    return Verdict(True, f"Passes {'its gate' if len(report.gates) == 1 else f'all {len(report.gates)} gates'}.")


@dataclass(frozen=True)
class Measured:
    """A number as people read it, and the name under which the run's metrics have it in full."""

    metric: str
    text: str


Cell = tuple[Measured | str, ...]
"""What stands in one cell of a table: words, and numbers that the run's metrics have."""


def plain(cell: Cell) -> str:
    """The cell as text."""
    return "".join(part.text if isinstance(part, Measured) else part for part in cell)


@dataclass(frozen=True)
class Comparison:
    """One line of the before/after table, and what measured it."""

    quantity: str
    before: Cell
    after: Cell
    backend: str = ""


def before_after(report: ReportInput) -> tuple[Comparison, ...]:
    """Size, node shares, casts, accuracy, the task's metrics and latency, with what measured each."""
    counts, low = report.plan.counts(), str(report.plan.precision)
    share = report.output.bytes / report.source.bytes if report.source.bytes else 1.0
    return (
        Comparison(
            "Size",
            (Measured("model.bytes_before", size(report.source.bytes)),),
            (Measured("model.bytes_after", size(report.output.bytes)), f" ({share:.0%})"),
        ),
        Comparison(
            f"Nodes in {low}",
            ("0",),
            (
                Measured("nodes.low_precision", f"{counts.low_precision:,}"),
                f" of {counts.low_precision + counts.fp32:,} (",
                Measured("nodes.low_precision_share", f"{counts.share:.2%}"),
                ")",
            ),
        ),
        Comparison("Casts inserted", ("–",), (Measured("casts.inserted", number(report.casts_inserted)),)),
        *_accuracy(report),
        *_task(report),
        *_latency(report),
    )


def measured_on(prefix: str, fidelity: MeasuredFidelity) -> str:
    """What computed the outputs: metrics called ``fidelity.*`` are those of the simulation that the backend ran."""
    return f"simulation on {fidelity.backend}" if prefix == "fidelity" else fidelity.backend


def first_backend(report: ReportInput) -> str:
    """What measured the task, and where errors come from: the first of the fidelities."""
    return next((measured_on(prefix, fidelity) for prefix, fidelity in report.fidelity.items()), "")


def _accuracy(report: ReportInput) -> Iterator[Comparison]:
    for prefix, fidelity in report.fidelity.items():
        found = fidelity.metrics(prefix)
        error, ratio = (
            Measured(name, number(found.get(name))) for name in (f"{prefix}.worst.rel_l2", f"{prefix}.worst.sqnr_db")
        )
        yield Comparison(
            "Worst output: relative L2 error, SQNR",
            ("exact",),
            (error, ", ", ratio, " dB"),
            measured_on(prefix, fidelity),
        )
    floor = [
        Measured(name, number(report.further[name]))
        for name in ("noise_floor.worst.rel_l2", "noise_floor.worst.sqnr_db")
        if name in report.further
    ]
    if len(floor) == 2:
        yield Comparison(
            "Noise floor: FP32 without graph optimisation",
            ("exact",),
            (floor[0], ", ", floor[1], " dB"),
            next((fidelity.backend for fidelity in report.fidelity.values()), ""),
        )


def _task(report: ReportInput) -> Iterator[Comparison]:
    """Every metric of the task that was measured for both models: NAME and NAME_fp32."""
    backend = first_backend(report)
    for name, value in report.task.items():
        reference = f"{name}_fp32"
        if reference in report.task:
            yield Comparison(
                f"Task: {name.removeprefix('task.')}",
                (Measured(reference, number(report.task[reference])),),
                (Measured(name, number(value)),),
                backend,
            )


def _latency(report: ReportInput) -> Iterator[Comparison]:
    names = [f"tensorrt.latency_ms.{kind}" for kind in ("fp32", "mixed")]
    if report.validation is None or not all(name in report.engine for name in names):
        return
    before, after = (Measured(name, number(report.engine[name])) for name in names)
    yield Comparison("Latency, median", (before, " ms"), (after, " ms"), report.validation.package or "TensorRT")


@dataclass(frozen=True)
class OutputErrors:
    """One output's errors by one backend; `values` follows ERRORS, None where not measured."""

    output: str
    metric: str
    backend: str
    values: tuple[float | None, ...]


def output_errors(report: ReportInput) -> tuple[OutputErrors, ...]:
    """The errors of every output, backend by backend."""
    rows = []
    for prefix, fidelity in report.fidelity.items():
        found = fidelity.metrics(prefix)
        for output, safe in fidelity.names.items():
            values = tuple(found.get(f"{prefix}.{safe}.{error}") for error in ERRORS)
            rows.append(OutputErrors(output, f"{prefix}.{safe}", measured_on(prefix, fidelity), values))
    return tuple(rows)


def kept_nodes(plan: PrecisionPlan) -> tuple[NodeDecision, ...]:
    """The float nodes that stay in FP32."""
    return tuple(decision for decision in plan.nodes if decision.precision is Precision.FP32)


def unchecked(report: ReportInput) -> tuple[str, ...]:
    """What nobody may conclude from this conversion, because it was not looked at."""
    statistics, found = report.statistics, list(report.not_checked)
    if statistics.origin == "none":
        found.append(f"Tensor ranges were not measured: {statistics.skipped or 'no calibration took place'}.")
    elif statistics.origin == "random":
        found.append("Tensor ranges come from random data: real data may reach further.")
    if not report.fidelity:
        found.append("Accuracy: the outputs were not compared.")
    for data in report.data:
        if data.purpose == "evaluation" and data.origin == "calibration":
            found.append("Accuracy on unseen data: the evaluation used the calibration data.")
        elif data.purpose == "evaluation" and data.origin == "random":
            found.append("Accuracy on real data: the evaluation used random data.")
    if not report.task:
        found.append("Task accuracy: no labels were given.")
    if report.attribution is None or report.attribution.skipped:
        reason = report.attribution.skipped if report.attribution else "no attribution took place"
        found.append(f"Which nodes the error comes from: {reason}.")
    found += _unchecked_engine(report.validation)
    return tuple(dict.fromkeys(found))


def _unchecked_engine(validation: Validation | None) -> list[str]:
    if validation is None:
        return ["TensorRT: it has not seen the model.", "Latency was not measured."]
    reasons = [f"TensorRT beyond depth {validation.depth!r}: {reason}." for reason in validation.skipped]
    if validation.depth != "executed":
        reasons.append("Execution in 16-bit arithmetic, and latency: no engine ran the model.")
    return reasons


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
