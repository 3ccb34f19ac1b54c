"""Stage: the conversion as a run that people can review, and as a registered version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from prefect import task

from autocast_core.config import ConversionConfig
from autocast_core.engine.validation import Validation
from autocast_core.evaluate import GateResult
from autocast_core.evaluate.metric_names import WORST_BATCH_SQNR
from autocast_core.model.reference import ModelRef
from autocast_core.pipeline.cache import artifact_cache
from autocast_core.pipeline.saved import SavedModelFiles, SavedStatistics
from autocast_core.pipeline.stages.evaluate import Evaluated
from tasks.prefect.retries import on_service_errors
from tasks.stages.conversion import check_unchanged
from tasks.stages.validate import artifacts
from tasks.storage.local import model_files
from tasks.storage.models import Fetched
from tasks.tracking.descriptions import NOTE_TAG, described_model
from tasks.tracking.example import sample_of
from tasks.tracking.logged_model import LoggedModel, log_model
from tasks.tracking.model_facts import network_of, ports_of
from tasks.tracking.package_versions import versions
from tasks.tracking.pages import model_page, model_path, run_path
from tasks.tracking.registry.model_versions import CANDIDATE, SUMMARY_TAGS, Registered, link_source, register_version
from tasks.tracking.registry.previous_version import previous_version
from tasks.tracking.run_metrics import METRICS_FILE, metrics_text, read_by, shown_metrics
from tasks.tracking.runs import RunRef, begin_run, log, log_artifacts, log_dataset, note

if TYPE_CHECKING:
    from autocast_core.report.content import DataUsed, ReportInput


SOURCE_MODEL = "source-model"
"""Name and context of the source model among a run's inputs."""


@dataclass(frozen=True)
class DataRecord:
    """Data that the conversion read: for what, from where, and its digest."""

    purpose: str
    uri: str
    digest: str


@dataclass(frozen=True)
class Record:
    """Everything that is written down about a conversion; big things by path. `sample` is data of which the first
    batch becomes the input example."""

    name: str
    source: Fetched
    sanitized: ModelRef
    calibrated: SavedStatistics
    converted: SavedModelFiles
    evaluated: Evaluated
    attribution: Path
    validated: Validation
    gates: tuple[GateResult, ...]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    spec: Mapping[str, str]
    config: ConversionConfig
    sample: Path | None = None
    data: tuple[DataRecord, ...] = ()
    warnings: tuple[str, ...] = ()


def size_of(model: ModelRef) -> int:
    """Bytes of the model and its external data."""
    return sum(path.stat().st_size for path in model_files(model.path))


@dataclass(frozen=True)
class Texts:
    """What goes with the model: its card and what the registry shows of its version, as Markdown, and the version's
    tags for people."""

    card: str
    description: str
    tags: Mapping[str, str] = field(default_factory=dict)


def track(run: RunRef, record: Record) -> Texts:
    """Writes metrics, tags, tables, plots and the reports to `run`."""
    from autocast_core.report.card import card
    from autocast_core.report.description import description
    from autocast_core.report.summary import summary

    with TemporaryDirectory(prefix="autocast-report-") as folder:
        for_netron = Path(folder) / "model.onnx"
        report = report_input(run, record, for_netron)
        text = summary(report)
        described = description(report, _links(run), _source(record.source))
        asked = read_by(record.gates, record.evaluated.names)
        log(run, metrics=shown_metrics(record.metrics, asked), tags={**record.tags, NOTE_TAG: note(described)})
        log_dataset(run, SOURCE_MODEL, record.source.uri_pinned, record.source.ref.digest, SOURCE_MODEL)
        for data in record.data:
            log_dataset(run, data.purpose, data.uri, data.digest, data.purpose)
        _log_reports(run, record, report, text, for_netron)
    model = record.converted.model
    where = f"Its report is in [run {run.run_id}]({run_path(run)})."
    return Texts(card(report, ports_of(model), model.path.name, where), described, _version_tags(report))


def _log_reports(run: RunRef, record: Record, report: ReportInput, text: str, for_netron: Path) -> None:
    """The artifacts that people read, and those that viewers do."""
    from autocast_core.report.figures.plots import plots
    from autocast_core.report.node_table import node_table
    from autocast_core.report.pages.report_page import page
    from autocast_core.report.sources import attribution_table
    from autocast_core.report.viewers.model_explorer import node_data

    engine_texts, engine_tables = artifacts(record.validated)
    overlays = {f"model_explorer/{stem}.json": overlay for stem, overlay in node_data(report).items()}
    log_artifacts(
        run,
        texts={
            "summary.md": text,
            "report.html": page(report),
            METRICS_FILE: metrics_text(record.metrics),
            **overlays,
            **engine_texts,
        },
        tables={
            "node_precision.json": node_table(report.plan),
            **({"fidelity_batches.json": record.evaluated.table()} if record.evaluated.fidelity else {}),
            "attribution.json": attribution_table(report),
            **engine_tables,
        },
        figures={f"plots/{name}.png": figure for name, figure in plots(report).items()},
        files={"plan.json": record.converted.plan, "netron/model.onnx": for_netron},
    )


def log_converted(run: RunRef, record: Record, card: str) -> LoggedModel:
    """The converted model as a logged model of `run`, with its card and a sample of its inputs."""
    model = record.converted.model
    check_unchanged(record.converted)
    metadata = {"autocast": {key.removeprefix("autocast."): value for key, value in record.tags.items()}}
    return log_model(
        run,
        model,
        record.converted.files,
        name=record.name,
        params=record.spec,
        metadata=metadata,
        example=sample_of(record.source.ref, model, record.sample, record.config),
        card=card,
    )


def report_input(run: RunRef, record: Record, for_netron: Path) -> ReportInput:
    """What the reports show of the conversion; writes the model for Netron to `for_netron`."""
    from autocast_core.report.content import FileFacts, ReportInput
    from autocast_core.search.attribution import read_attribution

    evaluated, converted, cache = record.evaluated, record.converted, artifact_cache()
    return ReportInput(
        name=record.name,
        plan=cache.plan(converted.plan),
        statistics=cache.statistics(record.calibrated.path),
        source=FileFacts(record.source.uri_pinned, record.source.ref.digest, int(record.metrics["model/bytes_before"])),
        output=FileFacts(converted.model.path.name, converted.model.digest, converted.bytes),
        metrics=record.metrics,
        fidelity=evaluated.fidelity,
        gates=record.gates,
        validation=record.validated,
        attribution=read_attribution(record.attribution),
        data=_data_used(record),
        spec=record.spec,
        versions=versions(),
        network=network_of(record.sanitized, converted.plan, converted.model, record.attribution, for_netron),
        warnings=record.warnings,
        not_checked=evaluated.skipped,
        nonfinite_results=evaluated.nonfinite_results,
        run_id=run.run_id,
        registry_link=model_page(run.tracking_uri, record.name),
        previous=previous_version(run, record.name),
    )


def _data_used(record: Record) -> tuple[DataUsed, ...]:
    from autocast_core.report.content import DataUsed

    given = {data.purpose: data for data in record.data}
    calibrated, evaluated = record.calibrated, record.evaluated
    # Evaluation without data of its own takes the calibration data; random data has no place.
    calibration, evaluation = (given[name].uri if name in given else None for name in ("calibration", evaluated.data))
    return (
        DataUsed("calibration", calibrated.origin, calibration, calibrated.digest, calibrated.batches),
        DataUsed("evaluation", evaluated.data, evaluation, evaluated.digest, evaluated.batches),
    )


def register(
    run: RunRef,
    logged: LoggedModel,
    record: Record,
    tags: Mapping[str, str],
    description: str,
    of_this_run: bool = False,
) -> Registered:
    """Registers the logged model under the record's name, with its tags and the alias ``candidate``, as
    `register_version`; a source that is a registered version gets a tag that names what was made of it."""
    source, precision = record.source, tags["autocast.precision"]
    made = register_version(
        run,
        logged,
        record.name,
        tags=tags,
        description=description,
        alias=CANDIDATE,
        of_this_run=of_this_run,
        described=described_model(_source_model(source), precision),
    )
    if source.registered_name is not None:
        link_source(run, source.uri_pinned, precision, made.uri)
    return made


def _links(run: RunRef) -> str:
    # Among the run's charts MLflow writes all parameters above a plot; the artifact shows the plot alone.
    report, plots = (run_path(run, f"artifacts/{name}") for name in ("report.html", "plots/precision_by_operator.png"))
    return f"[Report]({report}) · [run]({run_path(run)}) · [plots]({plots})"


def _source(source: Fetched) -> str:
    """The source as Markdown, with a link to its page where it is a registered version."""
    from autocast_core.report.text import markdown

    shown = markdown(source.uri_pinned, 400)
    name, _, version = source.uri_pinned.removeprefix("models:/").rpartition("/")
    if source.registered_name is None or not version.isdigit():
        return shown
    return f"[{shown}]({model_path(name, version)})"


def _source_model(source: Fetched) -> str:
    """What all versions of the source are called, as Markdown."""
    from autocast_core.report.text import markdown

    name = source.registered_name
    return markdown(source.stem) if name is None else f"[{markdown(name)}]({model_path(name)})"


def _version_tags(report: ReportInput) -> dict[str, str]:
    """What the table of a model's versions says in its narrow column of tags: three words to choose by."""
    from autocast_core.report.text import number

    gates, size, sqnr = SUMMARY_TAGS
    passed = sum(gate.passed for gate in report.gates)
    share, ratio = report.output.bytes / max(report.source.bytes, 1), report.metrics.get(WORST_BATCH_SQNR)
    return {
        gates: f"{passed} of {len(report.gates)}",
        size: f"{share:.0%}",
        **({sqnr: f"{number(ratio)} dB"} if ratio is not None else {}),
    }


begin_task = task(name="begin-tracking", persist_result=True, **on_service_errors(timeout_seconds=600.0))(begin_run)
track_task = task(name="track", persist_result=True, **on_service_errors(timeout_seconds=3600.0))(track)
log_model_task = task(name="log-model", persist_result=True, **on_service_errors(timeout_seconds=3600.0))(log_converted)
register_task = task(name="register", persist_result=True, **on_service_errors(timeout_seconds=600.0))(register)
