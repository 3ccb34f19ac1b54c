"""Calibration by shards: spans of the data's batches, whose statistics are merged in the order of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autocast_core.calibrate import STRETCH, Statistics
from autocast_core.data.layout import FileLayout, FileSpan
from autocast_core.errors import BackendError
from autocast_core.file_digest import file_digest
from autocast_core.model.atomic import write_whole
from autocast_core.model.reference import ModelRef
from autocast_core.pipeline.artifacts import SanitizedSource
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.saved import JobRequest, SavedSanitized, SavedStatistics, load_saved, save_made
from autocast_core.pipeline.stage import in_this_process, run_stages
from autocast_core.pipeline.stages.load import LOAD
from autocast_core.pipeline.stages.sanitize import SANITIZE
from autocast_core.pipeline.stages.spans.calibrate_span import calibrate_span, joined, layout
from autocast_core.progress import Progress
from tasks.isolation import isolated
from tasks.progress import report
from tasks.shards.runner import Runner
from tasks.shards.shard_inputs import ShardInputs, check_data, fetched_data, fetched_model

_SHARDS_A_WORKER = 2
"""So that workers of different speed end about together, and a lost one takes little with it; each opens the model
once more."""
_MOST_STRETCHES = 16
"""Of one shard: its statistics travel together, some hundred kilobytes a stretch of a large model."""


@dataclass(frozen=True)
class CalibrationShard:
    """Some of the batches, and the shapes of the first batch of all."""

    inputs: ShardInputs
    span: FileSpan
    shapes: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class ShardStatistics:
    """The statistics (JSON) of each stretch of a shard, in order, and sha256 of the files that it read, by name;
    `skipped` says why the runtime could not run the model."""

    stretches: tuple[str, ...]
    digests: Mapping[str, str]
    skipped: str | None = None


def calibrate_sharded(
    request: JobRequest, sanitized: SavedSanitized, inputs: ShardInputs, runner: Runner
) -> SavedStatistics | None:
    """What the stage `calibrate` makes, to the last bit, from shards done by `runner`; None where there is nothing to
    share out, and the stage itself is to run: no data, one stretch, a model that the runtime cannot run or that has
    custom operators.

    Raises as the stage and as Runner.map do, and InputError where a worker reads another model or other data.
    """
    found = layout_of(request, sanitized)
    if found is None or len(found) <= STRETCH:
        return None
    shards = cut(inputs, found, runner.workers)
    total, digests, done = Statistics(), dict[str, str](), 0
    report(Progress("calibrate", 0, len(found), "batches"))
    for shard, made in zip(shards, runner.map(calibrate_shard, shards), strict=True):
        if made.skipped is not None:
            return None
        for text in made.stretches:
            total = total.merge(Statistics.from_json(text))
        digests |= made.digests
        done += shard.span.count
        report(Progress("calibrate", done, len(found), "batches"))
    check_data(inputs, digests)
    merged = request.folder / "calibrate" / "merged.json"
    merged.parent.mkdir(parents=True, exist_ok=True)
    write_whole(merged, total.to_json().encode())
    return join_shards(request, sanitized, merged, inputs.data_digest)


def cut(inputs: ShardInputs, data: FileLayout, workers: int) -> Sequence[CalibrationShard]:
    """All of the data as shards of whole stretches, some for each worker."""
    stretches = -(-len(data) // STRETCH)
    each = max(1, min(_MOST_STRETCHES, stretches // (workers * _SHARDS_A_WORKER))) * STRETCH
    spans = (data.span(start, start + each) for start in range(0, len(data), each))
    return [CalibrationShard(inputs, span, data.shapes) for span in spans]


def calibrate_shard(shard: CalibrationShard, threads: int | None) -> ShardStatistics:
    """On a worker: the statistics of the shard's batches, computed with so many threads."""
    with fetched_model(shard.inputs) as model:
        return _measured(model, fetched_data(shard.inputs, shard.span.files), shard, threads)


def _find_layout(request: JobRequest, sanitized: SavedSanitized) -> FileLayout | None:
    job = request.job(report)
    return layout(job, load_saved(job, SanitizedSource, sanitized))


def _join(request: JobRequest, sanitized: SavedSanitized, merged: Path, digest: str) -> SavedStatistics:
    job = request.job(report)
    total = Statistics.from_json(merged.read_text(encoding="utf-8"))
    made = joined(job, load_saved(job, SanitizedSource, sanitized), total, digest)
    saved: SavedStatistics = save_made("calibrate", request, job, made)
    return saved


def _measure(model: ModelRef, files: tuple[Path, ...], shard: CalibrationShard, threads: int | None) -> ShardStatistics:
    inputs, span = shard.inputs, shard.span
    job = Job(
        model,
        inputs.config,
        calibration=files,
        allow_nonfinite=inputs.allow_nonfinite,
        progress=report,
        threads=threads,
    )
    sanitized = run_stages((LOAD, SANITIZE), in_this_process(job))[SanitizedSource]
    digests = {file.name: file_digest(file) for file in files}
    try:
        found = calibrate_span(job, sanitized, span.skipped, span.count, shard.shapes)
    except BackendError as error:
        return ShardStatistics((), digests, str(error))
    return ShardStatistics(tuple(each.to_json() for each in found), digests)


layout_of = isolated(_find_layout, FileLayout | None, name="calibrate")
join_shards = isolated(_join, SavedStatistics, name="calibrate")
_measured = isolated(_measure, ShardStatistics, name="calibrate")
