"""What a conversion is called and what is written down about it: names, tags, the record."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from autocast_core.calibrate import Statistics
from autocast_core.engine.validation import Validation
from autocast_core.errors import ConfigError
from autocast_core.evaluate import GateResult
from autocast_core.pipeline.artifacts import Converted, SanitizedSource
from autocast_core.pipeline.outcome.gain import no_gain
from autocast_core.pipeline.saved import SavedModelFiles, SavedPlan, SavedSanitized
from autocast_core.pipeline.stage import Artifacts
from autocast_core.pipeline.stages.evaluate import Evaluated
from autocast_core.plan import PrecisionPlan
from autocast_core.search.attribution import Attribution
from autocast_core.version import VERSION
from flows.request.spec import Spec
from tasks.stages.track import DataRecord, Record
from tasks.storage.data import FetchedData
from tasks.storage.models import Fetched
from tasks.storage.uri import LocalLocation, parse_uri
from tasks.tracking.identity import identity
from tasks.tracking.registry.conversions import IDENTITY_TAG


@dataclass(frozen=True)
class Inputs:
    """What a conversion reads, on this machine."""

    source: Fetched
    calibration: FetchedData | None
    evaluation: FetchedData | None


def registered_name(spec: Spec, source: Fetched) -> str:
    """The name to register under: the spec's, else the source's registered name or file stem with the precision.

    ConfigError where the spec names the source model's own.
    """
    if spec.name is not None and spec.name == source.registered_name:
        raise ConfigError(f"name {spec.name!r} is the source model's own: choose another, or omit it")
    base = source.registered_name or re.sub(r"[/:]", "_", source.stem)
    return spec.name or f"{base}-{spec.precision_in_names}"


def source_tags(spec: Spec, inputs: Inputs) -> dict[str, str]:
    """What is known before anything is converted: the source, and the identity of the conversion."""
    calibration, evaluation = (data.digest if data else None for data in (inputs.calibration, inputs.evaluation))
    source = inputs.source.ref.digest
    return {
        "autocast.source": inputs.source.uri_pinned,
        "autocast.source_sha256": source,
        IDENTITY_TAG: identity(source, calibration, evaluation, spec.canonical(), VERSION),
        "autocast.precision": spec.precision,
        "autocast.version": VERSION,
    }


def conversion_tags(made: Artifacts, metrics: Mapping[str, float], *, passed: bool) -> dict[str, str]:
    """What is known once the converted model was judged."""
    converted: SavedModelFiles = made.made[Converted]
    evaluated = made[Evaluated]
    return {
        "autocast.output_sha256": converted.model.digest,
        "autocast.evaluation_data": evaluated.data,
        "autocast.backend": f"simulation on {evaluated.backend}" if evaluated.backend else "none",
        "autocast.low_precision_share": f"{metrics['nodes/low_precision_share']:.4f}",
        "autocast.gate": "passed" if passed else "failed",
    }


def conversion_record(
    spec: Spec,
    inputs: Inputs,
    made: Artifacts,
    validated: Validation,
    gates: tuple[GateResult, ...],
    metrics: Mapping[str, float],
    name: str,
    tags: Mapping[str, str],
) -> Record:
    """Everything that the tracking run keeps of the conversion."""
    sanitized: SavedSanitized = made.made[SanitizedSource]
    plan: SavedPlan = made.made[PrecisionPlan]
    gain = no_gain_by(metrics)
    return Record(
        name=name,
        source=inputs.source,
        converted=made.made[Converted],
        sanitized=sanitized.model,
        calibrated=made.made[Statistics],
        evaluated=made[Evaluated],
        attribution=made.made[Attribution].path,
        validated=validated,
        gates=gates,
        metrics=metrics,
        tags=tags,
        spec=spec.flat(),
        config=spec.config(),
        sample=next((each.path for each in (inputs.evaluation, inputs.calibration) if each), None),
        data=_data_records(spec, inputs),
        warnings=(*((gain,) if gain else ()), *sanitized.warnings, *plan.warnings),
    )


def no_gain_by(metrics: Mapping[str, float]) -> str | None:
    """One line where the metrics of a conversion show that the model became no smaller; else None."""
    before, after = int(metrics["model/bytes_before"]), int(metrics["model/bytes_after"])
    return no_gain(before, after, int(metrics["casts/inserted"]))


def _data_records(spec: Spec, inputs: Inputs) -> tuple[DataRecord, ...]:
    records = []
    for purpose, uri, fetched in (
        ("calibration", spec.calibration, inputs.calibration),
        ("evaluation", spec.evaluation, inputs.evaluation),
    ):
        if uri and fetched:
            place = str(fetched.path) if isinstance(parse_uri(uri), LocalLocation) else uri
            records.append(DataRecord(purpose, place, fetched.digest))
    return tuple(records)
