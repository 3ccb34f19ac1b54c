"""The flow `convert-model`: from a model somewhere to a reviewed, registered mixed-precision one."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from prefect import flow, runtime
from prefect.states import Completed
from prefect.transactions import transaction
from prefect.utilities.annotations import quote

from autocast_core.engine.validation import Validation
from autocast_core.errors import AutocastError, ConfigError, GateError, InputError, ServiceError
from autocast_core.evaluate import GateResult
from autocast_core.pipeline.convert import engine_version
from flows.conversion.gpu_pool import validate_converted
from flows.conversion.notifications import announce
from flows.conversion.result import ConversionResult, GateMissedError
from flows.local.abandoned_runs import end_abandoned_runs, run_marker
from flows.local.environment import set_defaults
from flows.local.home import Home, home
from flows.request.policy import check_metric, check_plugins, limits_for
from flows.request.preflight import check_request
from flows.request.spec import Spec
from tasks.isolation import isolation
from tasks.prefect.artifacts import show_conversion, stages_shown, summary_text
from tasks.prefect.distributed_lock import exclusively
from tasks.prefect.lineage import show_lineage
from tasks.progress import listener, stage
from tasks.stages.apply import ConvertedModel, apply_task, check_unchanged
from tasks.stages.attribute import attribute_task
from tasks.stages.calibrate import Calibrated, calibrate_task
from tasks.stages.decide import Classified, casts_of_plan, classify_task
from tasks.stages.evaluate import Evaluated, evaluate_task
from tasks.stages.fetch import fetch_data_task, fetch_model_task
from tasks.stages.fit import fit_task
from tasks.stages.gates import check_gates
from tasks.stages.publish import PUBLISHED, publish_task
from tasks.stages.sanitize import SanitizedModel, sanitize_task
from tasks.stages.track import DataRecord, Record, begin_task, log_model_task, register_task, size_of, track_task
from tasks.stages.verify import verify_task
from tasks.storage.data import FetchedData
from tasks.storage.local import MODEL_FILE
from tasks.storage.model_registry import NoOnnxFlavorError, resolve_tracking_uri
from tasks.storage.models import Fetched
from tasks.storage.publication import is_there, output_name
from tasks.storage.uri import LocalLocation, parse_uri
from tasks.tracking.conversions import FLOW_RUN_TAG, IDENTITY_TAG, discard, earlier_result, end_abandoned, keep_result
from tasks.tracking.identity import identity
from tasks.tracking.runs import RunRef, end_run, go_on, log

_DEFAULT = Spec()
_KEEP_FAILED_SECONDS = 7 * 86400


@dataclass(frozen=True)
class _Job:
    """What is asked, where its intermediate files go, and the seconds that its stages have taken so far."""

    model: str
    spec: Spec
    home: Home
    folder: Path
    timings: MutableMapping[str, float]


@dataclass(frozen=True)
class _Inputs:
    source: Fetched
    calibration: FetchedData | None
    evaluation: FetchedData | None


@dataclass(frozen=True)
class _Planned(_Inputs):
    sanitized: SanitizedModel
    calibrated: Calibrated
    classified: Classified


@dataclass(frozen=True)
class _Judged:
    converted: ConvertedModel
    evaluated: Evaluated
    attribution: Path
    validated: Validation
    metrics: dict[str, float]
    gates: tuple[GateResult, ...]


def _run_name() -> str:
    parameters = runtime.flow_run.parameters
    spec = parameters.get("spec") or _DEFAULT
    return f"{_stem(str(parameters['model']))}-{spec.precision if isinstance(spec, Spec) else spec['precision']}"


def _remove_work(flow: Any, flow_run: Any, state: Any) -> None:
    """When a run is over for good: a failed or crashed one that is tried again goes on with the files."""
    shutil.rmtree(home().work / str(flow_run.id), ignore_errors=True)


def _remove_useless_work(flow: Any, flow_run: Any, state: Any) -> None:
    """Bad input and missed gates stay what they are however often they are tried; only deployed runs are retried."""
    error = state.result(raise_on_failure=False)
    if flow_run.deployment_id is None or isinstance(error, InputError | GateError):
        _remove_work(flow, flow_run, state)


def _end_tracking(flow: Any, flow_run: Any, state: Any) -> None:
    """For a process that could not end its tracking run itself."""
    end_abandoned(resolve_tracking_uri(), str(flow_run.id), f"the flow run ended as {state.name}")


def _prune(work: Path) -> None:
    """Removes the files of failed runs that nobody has tried again for a week."""
    oldest = time.time() - _KEEP_FAILED_SECONDS
    for folder in work.iterdir() if work.is_dir() else ():
        if folder.stat().st_mtime < oldest:
            shutil.rmtree(folder, ignore_errors=True)


@flow(
    name="convert-model",
    flow_run_name=_run_name,
    result_serializer="json",
    on_completion=[_remove_work, announce],
    on_failure=[_remove_useless_work, announce],
    on_cancellation=[_remove_work, _end_tracking, announce],
    on_crashed=[_remove_useless_work, _end_tracking, announce],
)
def convert_model(model: str, spec: Spec = _DEFAULT, dry_run: bool = False) -> ConversionResult:
    """Converts the model at `model` (path, file://, s3:// or models:/ URI) as `spec` says.

    Where an equal conversion (same identity and name) is done or under way, its result is handed back and nothing is
    made. A dry run ends with the plan and writes nothing. GateMissedError (with the result) where the model misses a
    gate: then nothing is published or registered. InputError and ServiceError as their messages say.
    """
    where = home()
    set_defaults(where)
    folder = where.work.absolute() / str(runtime.flow_run.id)
    _prune(where.work)
    job = _Job(model, spec, where, folder, {})
    deployed = runtime.deployment.id is not None
    check_plugins(spec, deployed=deployed)
    check_metric(spec.metric, deployed=deployed)
    try:
        with isolation(limits_for(spec, deployed=deployed)), stages_shown() if deployed else nullcontext():
            return _plan_only(job) if dry_run else _convert_once(job)
    except NoOnnxFlavorError as error:
        if not deployed:
            raise
        # Registries hold models of all kinds; an event about another kind is no failure.
        return Completed(name="Skipped", message=str(error))  # type: ignore[return-value]


def _convert_once(job: _Job) -> ConversionResult:
    """Converts, or hands back what an earlier or simultaneous conversion of the same identity and name did."""
    with _tracked(job) as run:
        check_request(job.model, job.spec)
        inputs = _fetch(job)
        name, tags = registered_name(job.spec, inputs.source), _source_tags(job, inputs)
        log(run, tags=tags)
        key = sha256(f"{tags[IDENTITY_TAG]}/{name}".encode()).hexdigest()[:40]
        with exclusively(key, str(runtime.flow_run.id)):
            earlier = earlier_result(run, name, tags[IDENTITY_TAG])
            if earlier is None or not is_there(earlier["output"]):
                result = _converted(job, run, inputs, name, tags)
                keep_result(run, result.to_json())
                return result
    discard(run)
    return ConversionResult.from_json(earlier)


def _plan_only(job: _Job) -> ConversionResult:
    planned = _plan(job, _fetch(job))
    casts = casts_of_plan(planned.sanitized.model, planned.classified.plan)
    classified = planned.classified
    return ConversionResult(
        source=planned.source.uri_pinned,
        source_sha256=planned.source.ref.digest,
        summary=classified.summary,
        metrics={**classified.metrics, "casts.inserted": casts},
        plan=json.loads(classified.plan.read_text(encoding="utf-8")),
        timings=job.timings,
        warnings=(*planned.sanitized.warnings, *classified.warnings),
    )


@contextmanager
def _tracked(job: _Job) -> Iterator[RunRef]:
    """Begins the MLflow run, and ends it whatever happens, with the reason where that is a failure."""
    uri, flow_run = resolve_tracking_uri(), str(runtime.flow_run.id)
    with run_marker(job.home, uri, flow_run) as forget:
        with stage("track", job.timings):
            end_abandoned_runs(job.home)
            tags = {
                "autocast.source": job.model,
                "autocast.precision": job.spec.precision,
                "autocast.version": engine_version(),
                FLOW_RUN_TAG: flow_run,
            }
            name = f"{_stem(job.model)}-{job.spec.precision}"
            run = begin_task(uri, name, {"model": job.model, **job.spec.flat()}, tags)
            go_on(run)
        listener().note("run_id", run.run_id)
        try:
            yield run
        except BaseException as error:
            # The reason to raise is this one, also where the tracking server is gone.
            with suppress(ServiceError):
                end_run(run, _reason(error))
                forget()
            raise
        end_run(run)
        forget()


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, AutocastError) else f"{type(error).__name__}: {text or 'interrupted'}"


def _fetch(job: _Job) -> _Inputs:
    with stage("fetch", job.timings):
        source = fetch_model_task(job.model, job.home.cache)
        calibration, evaluation = (
            fetch_data_task(uri, job.home.cache) if uri else None for uri in (job.spec.calibration, job.spec.evaluation)
        )
    return _Inputs(source, calibration, evaluation)


def _plan(job: _Job, inputs: _Inputs) -> _Planned:
    config, timings, source, calibration = job.spec.config(), job.timings, inputs.source, inputs.calibration
    with stage("sanitize", timings):
        sanitized = sanitize_task(source.ref, config, job.folder)
    with stage("calibrate", timings):
        calibrated = calibrate_task(
            source.ref, sanitized, calibration.path if calibration else None, config, job.folder
        )
    with stage("classify", timings):
        classified = classify_task(sanitized, calibrated, config, job.folder)
    if config.target is not None:
        with stage("fit", timings):
            data = calibration.path if calibration else None
            classified = fit_task(sanitized, classified, data, config, job.folder)
    return _Planned(source, calibration, inputs.evaluation, sanitized, calibrated, classified)


def _converted(job: _Job, run: RunRef, inputs: _Inputs, name: str, tags: Mapping[str, str]) -> ConversionResult:
    planned = _plan(job, inputs)
    judged = _judge(job, planned)
    result = _result(job, planned, judged, run)
    tags = {
        **tags,
        "autocast.output_sha256": judged.converted.model.digest,
        "autocast.evaluation_data": judged.evaluated.data,
        "autocast.backend": f"simulation on {judged.evaluated.backend}" if judged.evaluated.backend else "none",
        "autocast.low_precision_share": f"{judged.metrics['nodes.low_precision_share']:.4f}",
        "autocast.gate": "passed" if result.passed else "failed",
    }
    # Quoted, or Prefect looks for futures in all of it, of which it holds none; to the tasks it is the Record itself.
    record: Any = quote(_record(job, planned, judged, name, tags))
    with stage("track", job.timings):
        texts = track_task(run, record)
    if not result.passed:
        missed = "; ".join(f"{gate.expression} {gate.reason}" for gate in judged.gates if not gate.passed)
        raise GateMissedError(f"gate missed: {missed}; run {run.run_id} holds the details", result)
    with stage("publish", job.timings):
        logged, output = log_model_task(run, record, texts.card), None
        # Both or none; the registry last, as it calls people: what they will look for is in its place then.
        with transaction() as together:
            if job.spec.output:
                published = publish_task(judged.converted.model.path, job.spec.output, judged.converted.plan)
                together.set(PUBLISHED, published)
                check_unchanged(judged.converted, published.sha256)
                output = published.uri
            registered = register_task(run, logged, name, tags, texts.description)
    text = summary_text(result.summary, result.metrics, registered.uri, output)
    show_conversion(run, judged.converted.plan, text, registered.uri)
    made = [uri for uri in (output, registered.uri) if uri]
    show_lineage(planned.source.uri_pinned, made, {**tags, **judged.metrics})
    return replace(result, output=output or registered.uri, registered=registered.uri, timings=job.timings)


def _judge(job: _Job, planned: _Planned) -> _Judged:
    config, timings, source = job.spec.config(), job.timings, planned.source.ref
    plan = planned.classified.plan
    with stage("apply", timings):
        file_name = output_name(job.spec.output) if job.spec.output else MODEL_FILE
        converted = apply_task(planned.sanitized.model, plan, job.folder / "output", file_name)
    with stage("verify", timings):
        verify_task(source, converted.model, converted.plan, config)
    with stage("evaluate", timings):
        evaluated = evaluate_task(
            source,
            converted.model,
            planned.evaluation.path if planned.evaluation else None,
            planned.calibration.path if planned.calibration else None,
            config,
            metric=job.spec.metric,
        )
    data = planned.evaluation or planned.calibration
    with stage("attribute", timings):
        attribution = attribute_task(planned.sanitized.model, plan, data.path if data else None, config, job.folder)
    with stage("validate", timings):
        place = str(runtime.flow_run.id)
        validated = validate_converted(converted, planned.source, data.path if data else None, job.spec, place)
    metrics = {
        **planned.classified.metrics,
        "casts.inserted": converted.casts_inserted,
        "model.bytes_before": size_of(source),
        "model.bytes_after": converted.bytes,
        **evaluated.metrics,
        **(validated.metrics() if validated.package else {}),
    }
    gates = check_gates(job.spec.gates, evaluated, allow_random=job.spec.allow_random)
    if job.spec.validation == "required" and not validated.accepted:
        reason = "; ".join((*(finding.words for finding in validated.findings), *validated.skipped)) or "not accepted"
        gates = (*gates, GateResult("validation: required", None, False, reason))
    return _Judged(converted, evaluated, attribution, validated, metrics, gates)


def registered_name(spec: Spec, source: Fetched) -> str:
    """The name to register under: the spec's, else the source's registered name or file stem with the precision.

    ConfigError where the spec names the source's own.
    """
    if spec.name is not None and spec.name == source.registered_name:
        raise ConfigError(f"name {spec.name!r} is the source's own: give another one, or leave it away")
    base = source.registered_name or re.sub(r"[/:]", "_", source.stem)
    return spec.name or f"{base}-{spec.precision}"


def _source_tags(job: _Job, inputs: _Inputs) -> dict[str, str]:
    calibration, evaluation = (data.digest if data else None for data in (inputs.calibration, inputs.evaluation))
    source = inputs.source.ref.digest
    return {
        "autocast.source": inputs.source.uri_pinned,
        "autocast.source_sha256": source,
        IDENTITY_TAG: identity(source, calibration, evaluation, job.spec.canonical(), engine_version()),
        "autocast.precision": job.spec.precision,
        "autocast.version": engine_version(),
    }


def _result(job: _Job, planned: _Planned, judged: _Judged, run: RunRef) -> ConversionResult:
    return ConversionResult(
        source=planned.source.uri_pinned,
        source_sha256=planned.source.ref.digest,
        summary=planned.classified.summary,
        metrics=judged.metrics,
        run_id=run.run_id,
        output_sha256=judged.converted.model.digest,
        plan=f"runs:/{run.run_id}/plan.json",
        gates=judged.gates,
        timings=job.timings,
        warnings=(*planned.sanitized.warnings, *planned.classified.warnings),
    )


def _record(job: _Job, planned: _Planned, judged: _Judged, name: str, tags: Mapping[str, str]) -> Record:
    data = []
    for purpose, uri, fetched in (
        ("calibration", job.spec.calibration, planned.calibration),
        ("evaluation", job.spec.evaluation, planned.evaluation),
    ):
        if uri and fetched:
            place = str(fetched.path) if isinstance(parse_uri(uri), LocalLocation) else uri
            data.append(DataRecord(purpose, place, fetched.digest))
    return Record(
        name=name,
        source=planned.source,
        converted=judged.converted,
        sanitized=planned.sanitized.model,
        calibrated=planned.calibrated,
        evaluated=judged.evaluated,
        attribution=judged.attribution,
        validated=judged.validated,
        gates=judged.gates,
        metrics=judged.metrics,
        tags=tags,
        spec=job.spec.flat(),
        config=job.spec.config(),
        sample=next((each.path for each in (planned.evaluation, planned.calibration) if each), None),
        data=tuple(data),
        warnings=(*planned.sanitized.warnings, *planned.classified.warnings),
    )


def _stem(uri: str) -> str:
    """What a run is called before the model is there: the last part of its location."""
    return re.split(r"[/\\]", uri.partition("?")[0].rstrip("/\\"))[-1].removesuffix(".onnx") or uri
