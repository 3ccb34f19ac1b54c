"""The flow `validate-on-tensorrt`: validates a converted model with TensorRT and keeps the result in a tracked run."""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from prefect import flow, runtime

from autocast_core.engine.validation import Validation
from autocast_core.errors import GateError, InputError
from autocast_core.json_values import finite
from autocast_core.pipeline.saved import JobRequest
from flows.conversion.tracked_run import tracked_run, work_folder
from flows.local.environment import set_defaults
from flows.local.home import Home, home
from flows.request.policy import check_plugins, limits_for
from flows.request.spec import Spec
from tasks.isolation import isolation
from tasks.progress import stage
from tasks.stages.fetch import fetch_data_task, fetch_model_task
from tasks.stages.validate import VALIDATION_FILE, artifacts, validate_task
from tasks.storage.data import FetchedData
from tasks.storage.models import Fetched
from tasks.tracking.run_metrics import shown_metrics
from tasks.tracking.runs import RunRef, log, log_artifacts

_DEFAULT = Spec()
ENGINE = "model.engine"


@dataclass(frozen=True)
class ValidationResult:
    """One validation. `findings` are TensorRT's own messages, `skipped` what this machine could not do and why."""

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
        plain: dict[str, Any] = finite(asdict(self))
        return plain


class EngineRefusedModelError(GateError):
    """TensorRT does not accept the model although its validation is required; `result` holds the reasons."""

    def __init__(self, message: str, result: ValidationResult) -> None:
        super().__init__(message)
        self.result = result


@dataclass(frozen=True)
class _Fetched:
    candidate: Fetched
    reference: Fetched
    data: FetchedData | None


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
    """Validates the converted model at `model` against its FP32 original at `reference` (URIs as convert-model's).

    Validation goes as far as this machine allows: parsed and built anywhere with tensorrt-rtx, executed on a GPU, on
    the spec's evaluation data, else its calibration data, else seeded random data. A tracking run keeps metrics, the
    layer table and the build log, with `log_engine` the engine too.

    EngineRefusedModelError (with the result) where the spec requires validation and the model is not accepted.
    InputError where a given digest is not that of the fetched model.
    """
    where = home()
    set_defaults(where)
    deployed = runtime.deployment.id is not None
    check_plugins(spec, deployed=deployed)
    timings: dict[str, float] = {}
    with isolation(limits_for(spec, deployed=deployed)):
        with stage("fetch", timings):
            candidate = _fetch(model, model_sha256, where)
            original = _fetch(reference, reference_sha256, where)
            data_uri = spec.evaluation or spec.calibration
            data = fetch_data_task(data_uri, where.cache) if data_uri else None
        fetched = _Fetched(candidate, original, data)
        params = {"model": model, **spec.flat()}
        with tracked_run(where, f"validate {model}", params, _tags(fetched), timings) as run:
            engine = work_folder(where) / ENGINE if log_engine else None
            return _validated(fetched, spec, engine, run, timings)


def _fetch(uri: str, sha256: str | None, home: Home) -> Fetched:
    """The model at `uri`. InputError where it does not have the digest `sha256`; None: any digest."""
    found = fetch_model_task(uri, home.cache)
    if sha256 not in (None, found.ref.digest):
        raise InputError(f"{uri} has the digest {found.ref.digest}, not {sha256}: it has changed; request it again")
    return found


def _tags(fetched: _Fetched) -> dict[str, str]:
    return {
        "autocast.source": fetched.reference.uri_pinned,
        "autocast.source_sha256": fetched.reference.ref.digest,
        "autocast.output_sha256": fetched.candidate.ref.digest,
    }


def _validated(
    fetched: _Fetched, spec: Spec, engine: Path | None, run: RunRef, timings: MutableMapping[str, float]
) -> ValidationResult:
    candidate, reference, data = fetched.candidate, fetched.reference, fetched.data
    if engine is not None:
        engine.parent.mkdir(parents=True, exist_ok=True)
    with stage("validate", timings):
        request = JobRequest(reference.ref, spec.config(), work_folder(home()), evaluation=data.path if data else None)
        found = validate_task(request, candidate.ref, engine=engine)
    with stage("track", timings):
        _log_validation(run, found, engine)
    result = ValidationResult(
        model=candidate.uri_pinned,
        model_sha256=candidate.ref.digest,
        reference=reference.uri_pinned,
        depth=found.depth,
        accepted=found.accepted,
        skipped=found.skipped,
        findings=tuple(f"{each.node or found.package}: {each.words}" for each in found.findings),
        metrics=found.metrics(),
        versions=found.versions,
        run_id=run.run_id,
        timings=timings,
    )
    if spec.validation == "required" and not found.accepted:
        reason = "; ".join((*result.findings, *result.skipped)) or "not accepted"
        message = f"validation is required and TensorRT does not accept the model: {reason}"
        raise EngineRefusedModelError(message, result)
    return result


def _log_validation(run: RunRef, found: Validation, engine: Path | None) -> None:
    """Logs numbers, tables and the build log; moves the engine to the run, with tags that say where it loads."""
    tags = {"autocast.tensorrt": f"{found.depth} by {found.package}" if found.package else "none"}
    files = {}
    if engine is not None and engine.exists():
        files[f"tensorrt/{engine.name}"] = engine
        tags["autocast.tensorrt.engine"] = found.package or ""
        if found.execution is not None:
            tags["autocast.tensorrt.compute_capability"] = found.execution.compute_capability
    log(run, metrics=shown_metrics(found.metrics()), tags=tags)
    texts, tables = artifacts(found)
    texts[VALIDATION_FILE] = json.dumps(finite(found.to_json()))
    log_artifacts(run, texts=texts, tables=tables, figures={}, files=files)
    if engine is not None:
        engine.unlink(missing_ok=True)
