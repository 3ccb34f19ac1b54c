"""The flow `convert-model`: from a model somewhere to a reviewed, registered mixed-precision one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, MutableMapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow, get_run_logger, runtime
from prefect.transactions import transaction
from prefect.utilities.annotations import quote

from autocast_core.engine.validation import Validation
from autocast_core.errors import ServiceError
from autocast_core.evaluate import GateResult
from autocast_core.pipeline.artifacts import Converted, LoadedSource, SanitizedSource
from autocast_core.pipeline.convert import planning_stages
from autocast_core.pipeline.measured import measured_model
from autocast_core.pipeline.saved import JobRequest, SavedModelFiles, SavedPlan, SavedSanitized
from autocast_core.pipeline.stage import Around, Artifacts, Stage, run_stages
from autocast_core.pipeline.stages.evaluate import Evaluated
from autocast_core.pipeline.stages.explain import EXPLAIN
from autocast_core.plan import PrecisionPlan
from autocast_core.precision import parse_low_types
from autocast_core.search.attribution import Attribution, read_attribution
from flows.conversion.ending_states import gate_missed, reused, skipped, waiting
from flows.conversion.gpu_pool import validate_converted
from flows.conversion.handed_back import handed_back, may_be_handed_back
from flows.conversion.notifications import announce
from flows.conversion.record import (
    Inputs,
    conversion_record,
    conversion_tags,
    no_gain_by,
    registered_name,
    source_tags,
)
from flows.conversion.result import ConversionResult, GateMissedError
from flows.conversion.tracked_run import (
    end_tracking_run,
    model_stem,
    remove_old_work_folders,
    remove_work_folder,
    remove_work_folder_unless_retried,
    tracked_run,
    work_folder,
)
from flows.conversion.unpublished import UnpublishedError, is_published, unpublished
from flows.local.environment import set_defaults
from flows.local.home import Home, home
from flows.proof import SIGNING_KEY
from flows.request.policy import check_metric, check_plugins, check_runner_allowed, limits_for
from flows.request.preflight import check_inputs_stay, check_request
from flows.request.spec import Spec
from tasks.isolation import isolation
from tasks.prefect.artifacts import show_conversion, stages_shown, summary_text
from tasks.prefect.distributed_lock import exclusively
from tasks.prefect.lineage import show_lineage
from tasks.progress import listener, stage
from tasks.shards.runner import LOCAL, Runner, opened_runner
from tasks.shards.shard_inputs import shard_inputs
from tasks.stages.conversion import casts_of_plan, check_unchanged
from tasks.stages.fetch import fetch_data_task, fetch_model_task
from tasks.stages.gates import check_gates, check_nonfinite, with_blame
from tasks.stages.publish import PUBLISHED, publish_task
from tasks.stages.sharded import stage_caller
from tasks.stages.track import log_model_task, register_task, size_of, track_task
from tasks.storage.local import MODEL_FILE
from tasks.storage.model_registry import NoOnnxFlavorError
from tasks.storage.publication import output_name
from tasks.tracking.reading import read_run, read_version
from tasks.tracking.registry.conversions import (
    IDENTITY_TAG,
    REQUEST_TAG,
    discard,
    earlier_conversion,
    keep_result,
)
from tasks.tracking.runs import RunRef, log

if TYPE_CHECKING:
    from flows.proof.keys import PrivateKey

_DEFAULT = Spec()
REPAIRED = "repaired"
"""Folder, below the work folder, of the repaired plan and its model."""


@dataclass(frozen=True)
class _Conversion:
    """What is asked, where its intermediate files go, the seconds that its stages have taken so far, and what does its
    shards."""

    model: str
    spec: Spec
    home: Home
    folder: Path
    timings: MutableMapping[str, float]
    runner: Runner


@dataclass(frozen=True)
class _Judged:
    """The converted model with all that was measured of it, and whether that is good enough."""

    artifacts: Artifacts
    validated: Validation
    metrics: dict[str, float]
    gates: tuple[GateResult, ...]


def _run_name() -> str:
    parameters = runtime.flow_run.parameters
    spec = parameters.get("spec") or _DEFAULT
    precision = (spec if isinstance(spec, Spec) else Spec(precision=spec["precision"])).precision_in_names
    return f"{model_stem(str(parameters['model']))}-{precision}"


@flow(
    name="convert-model",
    flow_run_name=_run_name,
    result_serializer="json",
    on_completion=[remove_work_folder, announce],
    on_failure=[remove_work_folder_unless_retried, announce],
    on_cancellation=[remove_work_folder, end_tracking_run, announce],
    on_crashed=[remove_work_folder_unless_retried, end_tracking_run, announce],
)
def convert_model(model: str, spec: Spec = _DEFAULT, dry_run: bool = False, runner: str = LOCAL) -> ConversionResult:
    """Converts a model.

    Where an equal conversion (same identity and name) is done or under way, its result is handed back and nothing is
    made; the flow run ends as Reused. GateMissedError (with the result) where the model misses a gate: then nothing is
    published or registered, and the flow run ends as GateMissed. InputError and ServiceError as their messages say.

    Args:
        model: The FP32 model: models:/NAME/VERSION, s3://BUCKET/KEY, file:// or a path.
        spec: How it is converted and judged.
        dry_run: End with the plan and write nothing.
        runner: Who does the shards (see tasks.shards.runner); the result is the same, to the last bit.
    """
    where = home()
    set_defaults(where)
    remove_old_work_folders(where)
    deployed = runtime.deployment.id is not None
    check_runner_allowed(runner, deployed=deployed)
    check_plugins(spec, deployed=deployed)
    check_metric(spec.metric, deployed=deployed)
    try:
        with (
            opened_runner(runner) as opened,
            isolation(limits_for(spec, deployed=deployed)),
            stages_shown() if deployed else nullcontext(),
        ):
            conversion = _Conversion(model, spec, where, work_folder(where), {}, opened)
            result = _plan_only(conversion) if dry_run else _convert_once(conversion)
        get_run_logger().info("%s", result)
        return reused(result, result.run_id) if result.reused else result  # type: ignore[return-value]
    except GateMissedError as error:
        get_run_logger().info("%s", error.result)
        return gate_missed(error)  # type: ignore[return-value]
    except UnpublishedError as error:
        if not error.is_kept:
            raise
        return waiting(error)  # type: ignore[return-value]
    except NoOnnxFlavorError as error:
        if not deployed:
            raise
        # Registries hold models of all kinds; an event about another kind is no failure.
        return skipped(str(error))  # type: ignore[return-value]


def _convert_once(conversion: _Conversion) -> ConversionResult:
    """Converts, or hands back what an earlier or simultaneous conversion of the same identity and name did."""
    model, spec = conversion.model, conversion.spec
    tags = {"autocast.source": model, "autocast.precision": spec.precision, REQUEST_TAG: spec.request_digest()}
    run_name = f"{model_stem(model)}-{spec.precision_in_names}"
    with tracked_run(conversion.home, run_name, {"model": model, **spec.flat()}, tags, conversion.timings) as run:
        check_request(model, spec)
        signing_key = _signing_key()
        inputs = _fetch(conversion)
        if spec.output:
            read = [data.path for data in (inputs.calibration, inputs.evaluation) if data]
            check_inputs_stay(spec.output, inputs.source.ref.path, read)
        name, tags = registered_name(spec, inputs.source), source_tags(spec, inputs)
        log(run, tags=tags)
        key = sha256(f"{tags[IDENTITY_TAG]}/{name}".encode()).hexdigest()[:40]
        with exclusively(key, str(runtime.flow_run.id)):
            earlier = earlier_conversion(run, name, tags[IDENTITY_TAG])
            if earlier is None or not may_be_handed_back(earlier, run, signing_key):
                result = _convert(conversion, run, inputs, name, tags, signing_key is not None)
                if signing_key is not None and result.registered is not None:
                    _sign(conversion, run, result.registered, signing_key)
                return result
        found = handed_back(earlier, spec.output, run, conversion.home.cache, conversion.folder)
        discard(run)
        # The run that was noted at first is gone.
        listener().note("run_id", found.run_id or "")
        return found


def _signing_key() -> PrivateKey | None:
    """The key with which this service signs what it registers, if it has one. ConfigError where it cannot be used."""
    if not os.environ.get(SIGNING_KEY):
        return None
    from flows.proof.proof import service_key

    return service_key()


def _sign(conversion: _Conversion, run: RunRef, registered: str, key: PrivateKey) -> None:
    from flows.proof.proof import sign_version

    with stage("sign", conversion.timings):
        sign_version(read_version(run.tracking_uri, registered), read_run(run.tracking_uri, run.run_id), key)


def _fetch(conversion: _Conversion) -> Inputs:
    spec, cache = conversion.spec, conversion.home.cache
    with stage("fetch", conversion.timings):
        source = fetch_model_task(conversion.model, cache)
        calibration, evaluation = (
            fetch_data_task(uri, cache) if uri else None for uri in (spec.calibration, spec.evaluation)
        )
    return Inputs(source, calibration, evaluation)


def _request(conversion: _Conversion, inputs: Inputs) -> JobRequest:
    spec = conversion.spec
    return JobRequest(
        inputs.source.ref,
        spec.config(),
        conversion.folder,
        calibration=inputs.calibration.path if inputs.calibration else None,
        evaluation=inputs.evaluation.path if inputs.evaluation else None,
        metric=spec.metric,
        gates=spec.asked_gates(),
        allow_nonfinite=spec.allow_nonfinite,
        output=output_name(spec.output) if spec.output else MODEL_FILE,
    )


def _tasks(conversion: _Conversion, inputs: Inputs, request: JobRequest) -> Around:
    """Runs each of the pipeline's stages as a task."""
    spec = conversion.spec
    given = (spec.calibration, inputs.calibration), (spec.evaluation, inputs.evaluation)
    calibration, evaluation = (
        shard_inputs(inputs.source, *each, request.config, spec.allow_nonfinite) for each in given
    )
    call = stage_caller(conversion.runner, calibration, evaluation or calibration)

    def as_task(todo: Stage, taken: tuple[Any, ...]) -> Any:
        with stage(todo.name, conversion.timings):
            return call(todo.name, request, taken)

    return as_task


def _plan(conversion: _Conversion, inputs: Inputs, request: JobRequest) -> Artifacts:
    source = Artifacts({LoadedSource: request.source})
    return run_stages(planning_stages(request.config), _tasks(conversion, inputs, request), source)


def _plan_only(conversion: _Conversion) -> ConversionResult:
    inputs = _fetch(conversion)
    made = _plan(conversion, inputs, _request(conversion, inputs))
    sanitized: SavedSanitized = made.made[SanitizedSource]
    plan: SavedPlan = made.made[PrecisionPlan]
    return ConversionResult(
        source=inputs.source.uri_pinned,
        source_sha256=inputs.source.ref.digest,
        summary=plan.summary,
        metrics={**plan.metrics, "casts/inserted": casts_of_plan(sanitized.model, plan.path)},
        plan=json.loads(plan.path.read_text(encoding="utf-8")),
        timings=conversion.timings,
        warnings=(*sanitized.warnings, *plan.warnings),
    )


def _convert(
    conversion: _Conversion, run: RunRef, inputs: Inputs, name: str, tags: Mapping[str, str], is_signed: bool
) -> ConversionResult:
    request = _request(conversion, inputs)
    judged = _judge(conversion, request, inputs, _plan(conversion, inputs, request))
    result = _result(conversion, inputs, judged, run)
    tags = {**tags, **conversion_tags(judged.artifacts, judged.metrics, passed=result.passed)}
    record = conversion_record(
        conversion.spec, inputs, judged.artifacts, judged.validated, judged.gates, judged.metrics, name, tags
    )
    # Quoted, or Prefect looks for futures in all of it, of which it holds none; to the tasks it is the Record itself.
    quoted: Any = quote(record)
    try:
        published = _published(conversion, run, judged, result, quoted, name, tags, is_signed=is_signed)
        keep_result(run, published.to_json())
    except ServiceError as error:
        raise unpublished(conversion.folder, error, deployed=runtime.deployment.id is not None) from error
    is_published(conversion.folder)
    made = [uri for uri in dict.fromkeys((published.output, published.registered)) if uri]
    show_lineage(inputs.source.uri_pinned, made, {**tags, **judged.metrics})
    return published


def _published(
    conversion: _Conversion,
    run: RunRef,
    judged: _Judged,
    result: ConversionResult,
    quoted: Any,
    name: str,
    tags: Mapping[str, str],
    *,
    is_signed: bool,
) -> ConversionResult:
    """The result of the conversion, once it is recorded, published and registered; `quoted` is its Record."""
    converted: SavedModelFiles = judged.artifacts.made[Converted]
    with stage("track", conversion.timings):
        texts = track_task(run, quoted)
    if not result.passed:
        missed = "; ".join(f"{gate.expression} {gate.reason}" for gate in judged.gates if not gate.passed)
        raise GateMissedError(f"gate missed: {missed}; run {run.run_id} holds the details", result)
    with stage("publish", conversion.timings):
        logged, output = log_model_task(run, quoted, texts.card), None
        # Both or none; the registry last, as it calls people: what they will look for is in its place then.
        with transaction() as together:
            if conversion.spec.output:
                published = publish_task(converted.model.path, conversion.spec.output, converted.plan)
                together.set(PUBLISHED, published)
                check_unchanged(converted, published.sha256)
                output = published.uri
            tags = {**texts.tags, **tags}
            registered = register_task(run, logged, quoted, tags, texts.description, of_this_run=is_signed)
    text = summary_text(result.summary, result.metrics, registered.uri, output)
    show_conversion(run, name, converted.plan, text, registered.uri)
    return replace(result, output=output or registered.uri, registered=registered.uri, timings=conversion.timings)


def _judge(conversion: _Conversion, request: JobRequest, inputs: Inputs, planned: Artifacts) -> _Judged:
    spec = conversion.spec
    tasks = _tasks(conversion, inputs, request)
    # In a folder of its own: what was persisted of the first tasks must stay true for a retry.
    tasks_repaired = _tasks(conversion, inputs, replace(request, folder=request.folder / REPAIRED))
    made = run_stages((EXPLAIN,), tasks, measured_model(request, planned, tasks, tasks_repaired))
    plan: SavedPlan = made.made[PrecisionPlan]
    converted: SavedModelFiles = made.made[Converted]
    evaluated = made[Evaluated]
    with stage("validate", conversion.timings):
        validated = validate_converted(request, converted, inputs.source, spec, str(runtime.flow_run.id))
    metrics = {
        **plan.metrics,
        "casts/inserted": converted.casts_inserted,
        "model/bytes_before": size_of(inputs.source.ref),
        "model/bytes_after": converted.bytes,
        **evaluated.metrics,
        **validated.metrics(),
    }
    gates = (
        *check_gates(spec.asked_gates(), evaluated, parse_low_types(spec.precision)[0]),
        *check_nonfinite(evaluated, plan.nonfinite_weights, allowed=spec.allow_nonfinite),
    )
    gates = with_blame(gates, read_attribution(made.made[Attribution].path))
    if spec.validation == "required" and not validated.accepted:
        reason = "; ".join((*(finding.words for finding in validated.findings), *validated.skipped)) or "not accepted"
        gates = (*gates, GateResult("validation: required", None, False, reason))
    return _Judged(made, validated, metrics, gates)


def _result(conversion: _Conversion, inputs: Inputs, judged: _Judged, run: RunRef) -> ConversionResult:
    made = judged.artifacts.made
    sanitized: SavedSanitized = made[SanitizedSource]
    plan: SavedPlan = made[PrecisionPlan]
    converted: SavedModelFiles = made[Converted]
    nonfinite = judged.artifacts[Evaluated].nonfinite_results
    signs = (sign for sign in (nonfinite, no_gain_by(judged.metrics)) if sign)
    return ConversionResult(
        source=inputs.source.uri_pinned,
        source_sha256=inputs.source.ref.digest,
        summary=plan.summary,
        metrics=judged.metrics,
        run_id=run.run_id,
        output_sha256=converted.model.digest,
        plan=f"runs:/{run.run_id}/plan.json",
        gates=judged.gates,
        timings=conversion.timings,
        warnings=(*signs, *plan.warnings, *sanitized.warnings),
        repaired=plan.measured_summary,
    )
