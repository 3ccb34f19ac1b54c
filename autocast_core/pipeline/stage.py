"""Stages, and how a list of them is run: whoever runs one says only what happens around each stage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from autocast_core.errors import AutocastError, VerificationError
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.outcome.blame import source_finding
from autocast_core.verify import invalid_source

A = TypeVar("A")


@dataclass(frozen=True)
class Stage:
    """One step: `run` takes the job and the artifacts of the types `inputs`, and returns one of the type `output`.

    `name` is what progress, timings and Prefect call it.
    """

    name: str
    run: Callable[..., Any]
    inputs: tuple[type, ...]
    output: type


@dataclass(frozen=True)
class Artifacts:
    """What the stages of one run have made so far, by type."""

    made: Mapping[type, Any] = field(default_factory=dict)

    def __getitem__(self, kind: type[A]) -> A:
        return cast(A, self.made[kind])

    def having(self, kind: type, artifact: Any) -> Artifacts:
        """These, and `artifact` as the one of type `kind`."""
        return Artifacts({**self.made, kind: artifact})


Around = Callable[[Stage, tuple[Any, ...]], Any]
"""Runs one stage on its inputs and returns what it made: in this process, or as a task in another one."""

_NOTHING = Artifacts()


def run_stages(stages: Iterable[Stage], around: Around, artifacts: Artifacts = _NOTHING) -> Artifacts:
    """Run `stages` in order, each on what those before it made, beginning with `artifacts`."""
    for stage in stages:
        inputs = tuple(artifacts.made[kind] for kind in stage.inputs)
        artifacts = artifacts.having(stage.output, around(stage, inputs))
    return artifacts


def in_this_process(job: Job) -> Around:
    """Runs stages on `job` here and now, and notes their times."""

    def around(stage: Stage, inputs: tuple[Any, ...]) -> Any:
        with job.timed(stage.name):
            return run_stage(stage, job, inputs)

    return around


def run_stage(stage: Stage, job: Job, inputs: tuple[Any, ...]) -> Any:
    """What the stage makes. ModelError with the checker's finding in place of an error that else only a bug in
    AutoCast Flow explains, where onnx.checker's full check, which is made only then, refuses the source."""
    try:
        return stage.run(job, *inputs)
    except Exception as error:
        if isinstance(error, AutocastError | OSError | MemoryError) and not isinstance(error, VerificationError):
            raise
        finding = source_finding(job)
        if finding is None:
            raise
        raise invalid_source(finding) from error
