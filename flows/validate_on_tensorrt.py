"""The flow `validate-on-tensorrt`: what TensorRT says of a converted model, as a tracked run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from prefect import flow, runtime

from autocast_core.engine.validation import Validation
from autocast_core.errors import GateError, InputError
from autocast_core.json_values import finite
from autocast_core.pipeline.convert import engine_version
from flows.local.environment import set_defaults
from flows.local.home import home
from flows.request.policy import check_plugins, limits_for
from flows.request.spec import Spec
from tasks.isolation import isolation
from tasks.progress import listener, stage
from tasks.stages.fetch import fetch_data_task, fetch_model_task
from tasks.stages.track import begin_task
from tasks.stages.validate import VERDICT_FILE, artifacts, validate_task
from tasks.storage.data import FetchedData
from tasks.storage.models import Fetched
from tasks.storage.registry import resolve_tracking_uri
from tasks.tracking.conversions import FLOW_RUN_TAG
from tasks.tracking.runs import RunRef, end_run, log, log_artifacts

_DEFAULT = Spec()
ENGINE = "model.engine"


@dataclass(frozen=True)
class ValidationResult:
    """One validation. `findings` are in TensorRT's own words, `skipped` what this machine could not do and why."""

    model: str
    model_sha256: str
    reference: str
    depth: str
    accepted: bool
    skipped: tuple[str, ...]
    findings: tuple[str, ...]
    metrics: Mapping[str, float]
    versions: Mapping[str, str]
    run_id: str | None = None
    timings: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values, without NaN or infinity (None)."""
        return finite(asdict(self))


class RefusedError(GateError):
    """TensorRT refuses the model where its validation is required; `result` says why."""

    def __init__(self, message: str, result: ValidationResult) -> None:
        super().__init__(message)
        self.result = result


def _run_name() -> str:
    return f"validate {runtime.flow_run.parameters['model']}"


@flow(name="validate-on-tensorrt", flow_run_name=_run_name, result_serializer="json")
def validate_on_tensorrt(
    model: str,
    reference: str,
    spec: Spec = _DEFAULT,
    log_engine: bool = False,
    model_sha256: str | None = None,
    reference_sha256: str | None = None,
) -> ValidationResult:
    """Judges the converted model at `model` beside its FP32 original at `reference` (URIs as convert-model's).

    As deep as this machine allows: parsed and built anywhere with tensorrt-rtx, executed on a GPU, on the spec's
    evaluation data, else its calibration data, else seeded random data. Metrics, the layer table and the build log are
    kept in a tracking run; the engine too with `log_engine`. RefusedError (with the result) where the spec requires
    validation and the model is not accepted. InputError where a digest is given and what lies there has another one.
    """
    deployed = runtime.deployment.id is not None
    check_plugins(spec, deployed=deployed)
    with isolation(limits_for(spec, deployed=deployed)):
        return _judged(_Asked(model, model_sha256), _Asked(reference, reference_sha256), spec, log_engine)


@dataclass(frozen=True)
class _Asked:
    """A model as it was asked for: its URI, and the digest that it must have where that is known."""

    uri: str
    sha256: str | None


def _fetched(asked: _Asked, cache: Path) -> Fetched:
    found = fetch_model_task(asked.uri, cache)
    if asked.sha256 not in (None, found.ref.digest):
        raise InputError(
            f"{asked.uri} has the digest {found.ref.digest}, not {asked.sha256}: it was changed; ask again"
        )
    return found


def _judged(model: _Asked, reference: _Asked, spec: Spec, log_engine: bool) -> ValidationResult:
    where = home()
    set_defaults(where)
    timings: dict[str, float] = {}
    with stage("fetch", timings):
        candidate, original = (_fetched(asked, where.cache) for asked in (model, reference))
        uri = spec.evaluation or spec.calibration
        data = fetch_data_task(uri, where.cache) if uri else None
    with stage("track", timings):
        run = _begin(model.uri, candidate, original, spec)
    listener().note("run_id", run.run_id)
    try:
        engine = where.work.absolute() / str(runtime.flow_run.id) / ENGINE if log_engine else None
        with stage("validate", timings):
            found = _validate(candidate, original, data, spec, engine)
        with stage("track", timings):
            _keep(run, found, engine)
    except BaseException as error:
        end_run(run, " ".join(str(error).split()) or type(error).__name__)
        raise
    result = replace(_result(candidate, original, found, run), timings=timings)
    if spec.validation == "required" and not found.accepted:
        reason = "; ".join((*result.findings, *result.skipped)) or "not accepted"
        end_run(run, reason)
        raise RefusedError(f"validation is required and TensorRT does not accept the model: {reason}", result)
    end_run(run)
    return result


def _begin(model: str, candidate: Fetched, original: Fetched, spec: Spec) -> RunRef:
    tags = {
        "autocast.source": original.uri_pinned,
        "autocast.source_sha256": original.ref.digest,
        "autocast.output_sha256": candidate.ref.digest,
        "autocast.version": engine_version(),
        FLOW_RUN_TAG: str(runtime.flow_run.id),
    }
    return begin_task(resolve_tracking_uri(), f"validate {model}", {"model": model, **spec.flat()}, tags)


def _validate(
    candidate: Fetched, original: Fetched, data: FetchedData | None, spec: Spec, engine: Path | None
) -> Validation:
    if engine is not None:
        engine.parent.mkdir(parents=True, exist_ok=True)
    return validate_task(
        candidate.ref.path, "if_available", original.ref, None, data.path if data else None, spec.config(), engine
    )


def _keep(run: RunRef, found: Validation, engine: Path | None) -> None:
    """What the run shows: numbers, tables, the log, and the engine with what it can be loaded by."""
    tags = {"autocast.tensorrt": f"{found.depth} by {found.package}" if found.package else "none"}
    files = {}
    if engine is not None and engine.exists():
        files[f"tensorrt/{engine.name}"] = engine
        tags["autocast.tensorrt.engine"] = found.package or ""
        if found.execution is not None:
            tags["autocast.tensorrt.compute_capability"] = found.execution.compute_capability
    log(run, metrics=found.metrics() if found.package else {}, tags=tags)
    texts, tables = artifacts(found)
    texts[VERDICT_FILE] = json.dumps(finite(found.to_json()))
    log_artifacts(run, texts=texts, tables=tables, figures={}, files=files)
    if engine is not None:
        engine.unlink(missing_ok=True)


def _result(candidate: Fetched, original: Fetched, found: Validation, run: RunRef) -> ValidationResult:
    return ValidationResult(
        model=candidate.uri_pinned,
        model_sha256=candidate.ref.digest,
        reference=original.uri_pinned,
        depth=found.depth,
        accepted=found.accepted,
        skipped=found.skipped,
        findings=tuple(f"{each.node or found.package}: {each.words}" for each in found.findings),
        metrics=found.metrics() if found.package else {},
        versions=found.versions,
        run_id=run.run_id,
    )
