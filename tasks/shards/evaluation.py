"""Evaluation by shards: spans of the data's batches, whose sums of errors are exact and so merge to the same figures.

Workers make the converted model from the source and the plan, as they may not see the file that was written. What needs
all outputs in one place is evaluated where the flow runs, see autocast_core.pipeline.stages.spans.evaluate_span; so are
isolated jobs, as their processes hand back JSON, and sums of errors are more than that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from autocast_core.calibrate import STRETCH
from autocast_core.data.layout import FileLayout, FileSpan
from autocast_core.file_digest import file_digest
from autocast_core.pipeline.artifacts import Converted, SanitizedSource
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.saved import JobRequest, SavedModelFiles, SavedSanitized, load_saved
from autocast_core.pipeline.stage import in_this_process, run_stages
from autocast_core.pipeline.stages.evaluate import Evaluated, MeasuredBatches, priced
from autocast_core.pipeline.stages.load import LOAD
from autocast_core.pipeline.stages.sanitize import SANITIZE
from autocast_core.pipeline.stages.spans.evaluate_span import evaluate_span, evaluation_layout, joined_spans
from autocast_core.plan import PrecisionPlan
from autocast_core.progress import Progress
from tasks.progress import report
from tasks.shards.runner import Runner
from tasks.shards.shard_inputs import ShardInputs, check_data, fetched_data, fetched_model

_SHARDS_A_WORKER = 2
_FEWEST = 8
"""Batches of one shard; more than autocast_core.evaluate.recording.FEW_BATCHES, as of data that is shared out: sessions
for fewer are opened otherwise."""
_MOST = 512


@dataclass(frozen=True)
class EvaluationShard:
    """Some of the batches, and the plan (JSON) of the converted model as it was applied."""

    inputs: ShardInputs
    span: FileSpan
    plan: str


@dataclass(frozen=True)
class ShardMeasured:
    """What was measured over a shard, and sha256 of the files that it read, by name."""

    measured: MeasuredBatches
    digests: Mapping[str, str]


def evaluate_sharded(
    request: JobRequest, taken: tuple[SavedSanitized, SavedModelFiles], inputs: ShardInputs, runner: Runner
) -> Evaluated | None:
    """What the stage `evaluate` makes of `taken`, to the last bit, from shards done by `runner`; None where the stage
    itself is to run: there is little data, the job is isolated, or what is asked cannot be shared out (see
    `evaluation_layout`).

    Raises as the stage and as Runner.map do, and InputError where a worker reads another model or other data.
    """
    sanitized, converted = taken
    job = request.job(report)
    found = None if inputs.isolated else evaluation_layout(job)
    if found is None or len(found) <= STRETCH:
        return None
    shards = cut(inputs, found, runner.workers, converted.plan.read_text(encoding="utf-8"))
    digests = dict[str, str]()

    def measured() -> Iterator[MeasuredBatches]:
        done = 0
        report(Progress("evaluate", done, len(found), "batches"))
        for shard, made in zip(shards, runner.map(evaluate_shard, shards), strict=True):
            digests.update(made.digests)
            done += shard.span.count
            report(Progress("evaluate", done, len(found), "batches"))
            yield made.measured

    evaluated = joined_spans(job, measured(), inputs.data_digest)
    if evaluated is None:
        return None
    check_data(inputs, digests)
    return priced(job, load_saved(job, SanitizedSource, sanitized), load_saved(job, Converted, converted), evaluated)


def cut(inputs: ShardInputs, data: FileLayout, workers: int, plan: str) -> Sequence[EvaluationShard]:
    """All of the data as shards of about one size, some for each worker."""
    batches = len(data)
    shards = max(1, -(-batches // _MOST), min(workers * _SHARDS_A_WORKER, batches // _FEWEST))
    bounds = [batches * number // shards for number in range(shards + 1)]
    spans = (data.span(start, stop) for start, stop in pairwise(bounds))
    return [EvaluationShard(inputs, span, plan) for span in spans]


def evaluate_shard(shard: EvaluationShard, threads: int | None) -> ShardMeasured:
    """On a worker: how far the converted model's outputs are off over the shard's batches, computed with so many
    threads."""
    inputs, span = shard.inputs, shard.span
    with fetched_model(inputs) as model:
        files = fetched_data(inputs, span.files)
        allowed = inputs.allow_nonfinite
        job = Job(model, inputs.config, evaluation=files, progress=report, threads=threads, allow_nonfinite=allowed)
        sanitized = run_stages((LOAD, SANITIZE), in_this_process(job))[SanitizedSource]
        measured = evaluate_span(job, sanitized, PrecisionPlan.from_json(shard.plan), span.skipped, span.count)
        return ShardMeasured(measured, {file.name: file_digest(file) for file in files})
