"""What every report speaks of, in one value, and the sentences and figures that all of them share."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from autocast_core.calibrate.statistics import Statistics
from autocast_core.config import Precision
from autocast_core.engine.validation import Validation
from autocast_core.evaluate.judges import logged_metric
from autocast_core.evaluate.metric_names import (
    EXTRA_BYTES,
    EXTRA_KERNELS,
    NOISE_FLOOR,
    SIMULATION,
    TASK,
    bound_of,
    bound_prefix,
    folder_of_output,
    of_judge,
    of_output,
    of_repair,
    of_worst_output,
)
from autocast_core.operators.insides import ROUNDS_INSIDE
from autocast_core.plan import NodeDecision, PrecisionPlan
from autocast_core.precision import types_text
from autocast_core.report.before_after import QuantityChange, changes
from autocast_core.report.network import Network
from autocast_core.search.attribution import Attribution
from autocast_core.simulate import ATTENTION
from autocast_core.text import how_many

ERRORS = ("rel_l2", "max_abs", "mean_abs", "cosine", "sqnr_db")
_NAMED = 2


class MeasuredFidelity(Protocol):
    """What reports need of a fidelity: `names` maps each output to its name in metrics."""

    @property
    def backend(self) -> str: ...

    @property
    def names(self) -> Mapping[str, str]: ...

    def metrics(self, prefix: str = SIMULATION) -> dict[str, float]: ...


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
class PreviousVersion:
    """The version that was registered before under the same name: its URI, its run's metrics, what its gates measured
    by their expressions (None: nothing), its plan."""

    version: str
    metrics: Mapping[str, float]
    gates: Mapping[str, float | None]
    plan: PrecisionPlan


@dataclass(frozen=True)
class ReportInput:
    """Everything a conversion's reports show; where a part is absent they say that it was not checked.

    `metrics` are all that the run has, by their full names; `fidelity` is keyed by the prefix of its metrics
    (``fidelity``, ``fidelity_onnxruntime``, ``tensorrt/fidelity``); `attribution` says which nodes the error comes
    from; `nonfinite_results` is a line on NaN and infinity that the source itself gives; `registry_link` is the address
    of the registered model's page, where versions are approved.
    """

    name: str
    plan: PrecisionPlan
    statistics: Statistics
    source: FileFacts
    output: FileFacts
    metrics: Mapping[str, float]
    fidelity: Mapping[str, MeasuredFidelity] = field(default_factory=dict)
    gates: Sequence[CheckedGate] = ()
    validation: Validation | None = None
    attribution: Attribution | None = None
    data: tuple[DataUsed, ...] = ()
    spec: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    network: Network = field(default_factory=Network)
    warnings: tuple[str, ...] = ()
    not_checked: tuple[str, ...] = ()
    nonfinite_results: str | None = None
    run_id: str | None = None
    registry_link: str | None = None
    previous: PreviousVersion | None = None

    @property
    def task(self) -> dict[str, float]:
        """The metrics ``task/*`` but those of judges."""
        of_judges = {name for row in judged(self.metrics) for name in (row.metric, row.worst_batch)}
        return {
            name: value for name, value in self.metrics.items() if name.startswith(f"{TASK}/") and name not in of_judges
        }

    @property
    def engine(self) -> dict[str, float]:
        """The metrics ``tensorrt/*``, measured on the package of `validation`."""
        return {name: value for name, value in self.metrics.items() if name.startswith("tensorrt/")}


@dataclass(frozen=True)
class GateOutcome:
    """Whether a conversion passes its gates, and the sentence that says so: the first thing a reviewer reads."""

    passed: bool | None
    sentence: str


def gate_outcome(report: ReportInput) -> GateOutcome:
    """Passed, failed, or undecided (None) where no gate was checked."""
    failed = [gate for gate in report.gates if not gate.passed]
    if not report.gates:
        return GateOutcome(None, "Undecided: no gate was checked.")
    if failed:
        return GateOutcome(False, f"Fails {len(failed)} of {how_many(len(report.gates), 'gate')}.")
    if report.validation is not None and report.validation.findings:
        return GateOutcome(False, f"Passes its gates, but {report.validation.package} refuses the model.")
    return GateOutcome(True, f"Passes {'its gate' if len(report.gates) == 1 else f'all {len(report.gates)} gates'}.")


def approving_command(report: ReportInput) -> str | None:
    """The command that makes the version the champion; None where it was not registered."""
    if not gate_outcome(report).passed or report.run_id is None:
        return None
    return f"autocast promote {shlex.quote(f'models:/{report.name}/VERSION')} --alias champion"


def how_to_approve(report: ReportInput) -> str | None:
    """How the version becomes the champion, for whoever reads of it; None where it was not registered."""
    command = approving_command(report)
    if command is None:
        return None
    return f"To approve: set the tag autocast.approve to champion on the version in MLflow, or run {command}"


def alerts(report: ReportInput) -> tuple[str, ...]:
    """What must be read before any figure: nothing was converted, NaN or infinity in weights or results."""
    found = (report.plan.nothing_lowered(), report.plan.nonfinite_weights(), report.nonfinite_results)
    return tuple(f"{line[:1].upper()}{line[1:]}." for line in found if line is not None)


def all_warnings(report: ReportInput) -> tuple[str, ...]:
    """The plan's and the conversion's, each once."""
    return tuple(dict.fromkeys((*report.plan.warnings, *report.warnings)))


def before_after(report: ReportInput) -> tuple[QuantityChange, ...]:
    """Size, node shares, casts, accuracy, the task's metrics and latency, with what measured each."""
    backends = {prefix: measured_on(prefix, fidelity) for prefix, fidelity in report.fidelity.items()}
    if report.fidelity:
        backends[NOISE_FLOOR] = next(iter(report.fidelity.values())).backend
    package = report.validation.package if report.validation is not None else None
    return tuple(changes(report.metrics, types_text(report.plan.low_types, " and "), backends, package or "TensorRT"))


def measured_on(prefix: str, fidelity: MeasuredFidelity) -> str:
    """What computed the outputs: metrics called ``fidelity/*`` are those of the simulation that the backend ran."""
    bound = bound_of(prefix)
    if bound is not None:
        accumulate, spared = bound
        which = f"{accumulate} insides, {spared} in FP32" if spared else f"{accumulate} insides"
        return f"bound: {which}, simulation on {fidelity.backend}"
    return f"simulation on {fidelity.backend}" if prefix == SIMULATION else fidelity.backend


def first_backend(report: ReportInput) -> str:
    """What measured the task, and where errors come from: the first of the fidelities."""
    return next((measured_on(prefix, fidelity) for prefix, fidelity in report.fidelity.items()), "")


@dataclass(frozen=True)
class JudgedMetric:
    """A judge's metric: the names of its value and of the worst batch's in the run's metrics (None: there is none), and
    what it means."""

    metric: str
    worst_batch: str | None
    better: str
    meaning: str
    with_labels: bool

    @property
    def name(self) -> str:
        """As gates name it."""
        return self.metric.removeprefix(f"{TASK}/").replace("/", ".")


def judged(metrics: Mapping[str, float]) -> tuple[JudgedMetric, ...]:
    """What judges found, in the order of the metrics."""
    rows = []
    for name in metrics:
        found = logged_metric(name)
        if found is not None:
            judge, metric = found
            worst = of_judge(judge.name, metric.name, worst_batch=True)
            better = "higher" if metric.higher_is_better else "lower"
            meaning = metric.meaning.replace("`", "")
            rows.append(JudgedMetric(name, worst if worst in metrics else None, better, meaning, metric.with_labels))
    return tuple(rows)


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
            values = tuple(found.get(of_output(safe, error, prefix)) for error in ERRORS)
            rows.append(OutputErrors(output, folder_of_output(safe, prefix), measured_on(prefix, fidelity), values))
    return tuple(rows)


def kept_nodes(plan: PrecisionPlan) -> tuple[NodeDecision, ...]:
    """The float nodes that stay in FP32."""
    return tuple(decision for decision in plan.nodes if decision.precision is Precision.FP32)


def unchecked(report: ReportInput) -> tuple[str, ...]:
    """What must not be concluded from this conversion, because it was not checked."""
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
    if not report.task and not any(row.with_labels for row in judged(report.metrics)):
        found.append("Task accuracy: no labels were given.")
    if report.attribution is None or report.attribution.skipped:
        reason = report.attribution.skipped if report.attribution else "no attribution took place"
        found.append(f"Which nodes the error comes from: {reason}.")
    found += [*_rounded_inside(report), *_unchecked_engine(report.validation)]
    return tuple(dict.fromkeys(found))


def _rounded_inside(report: ReportInput) -> Iterator[str]:
    """The nodes in 16 bits whose insides a strongly typed engine may compute in 16 bits, by operator type, and the
    products of attention where a bound says so."""
    measured = (bound_of(name.partition("/")[0]) for name in report.metrics)
    bounds = {each[1] for each in measured if each is not None}
    by_type: dict[str, list[str]] = {}
    at_risk = ROUNDS_INSIDE | bounds
    for decision in report.plan.nodes:
        if decision.precision.is_low and decision.op_type in at_risk:
            by_type.setdefault(decision.op_type, []).append(decision.id)
    for op_type, ids in by_type.items():
        more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
        yield (
            f"What {op_type} adds up inside: an engine may round it to 16 bits in {', '.join(ids[:_NAMED])}{more}. "
            f"`op_types_to_exclude: [{op_type}]` computes it in FP32{_worth(report.metrics, op_type)}."
        )
    if ATTENTION in bounds:
        yield (
            "What the products of attention add up: an engine may round it to FP16. `upcast_attention: true` computes"
            f" them in FP32{_worth(report.metrics, ATTENTION)}."
        )


def _worth(metrics: Mapping[str, float], spared: str) -> str:
    """What FP32 inside what `spared` names gains and costs where that was measured; else how to measure it."""
    for name, bound in metrics.items():
        prefix, _, metric = name.partition("/")
        measured = bound_of(prefix)
        if metric != "sqnr_db" or measured is None or measured[1]:
            continue
        lifted = metrics.get(of_worst_output(metric, bound_prefix(measured[0], spared)))
        if lifted is not None:
            return f", which lifts the bound from {bound:.1f} to {lifted:.1f} dB (simulated){_price(metrics, spared)}"
    return "; `accumulate: native` gives a bound and the price"


def _price(metrics: Mapping[str, float], spared: str) -> str:
    kernels, moved = (metrics.get(of_repair(spared, each)) for each in (EXTRA_KERNELS, EXTRA_BYTES))
    if kernels is None:
        return ""
    traffic = "" if moved is None else f" and {moved:+,.0f} bytes a batch"
    noun = "kernel" if abs(kernels) == 1 else "kernels"
    return f" for {kernels:+.0f} {noun}{traffic} (model of fusion)"


def _unchecked_engine(validation: Validation | None) -> list[str]:
    if validation is None:
        return ["TensorRT: it has not seen the model.", "Latency was not measured."]
    reasons = [f"TensorRT beyond depth {validation.depth!r}: {reason}." for reason in validation.skipped]
    if validation.depth != "executed":
        reasons.append("Execution in 16-bit arithmetic, and latency: no engine ran the model.")
    return reasons
