"""`autocast evaluate`: models that feed each other, judged together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autocast_core.errors import ConfigError, InputError
from flows.cli.terminal.output import FailedCheckError, finish, say
from flows.cli.terminal.shared_options import Json

if TYPE_CHECKING:
    from autocast_core.composite import CompositeEvaluation, CompositeRequest
    from autocast_core.model.reference import ModelRef
    from flows.request.composite_file import CompositeFile

KEYS = ("depth", "batches", "fidelity", "stages", "gates", "converted", "warnings", "versions")
HELP = """Judge models that feed each other together: encoder and decoder, prompt and generation.

FILE is YAML: `stages:` with a `model:` each, its `candidate:` (a converted model) or its `spec:` (convert it here), and
`inputs:` that say which output of an earlier stage an input takes; `generate:` runs a stage token by token.

Examples:

  autocast evaluate translation.yaml

  autocast evaluate translation.yaml --candidate decoder=decoder.fp16.onnx --each-stage --json

Exit code 3 where a gate of the file fails.
"""


def add_to(app: typer.Typer) -> None:
    app.command("evaluate", help=HELP)(evaluate)


def evaluate(
    file: Annotated[Path, typer.Argument(help="YAML file of stages.")],
    candidate: Annotated[
        list[str] | None, typer.Option(help="STAGE=MODEL: the converted model of a stage, over the file's.")
    ] = None,
    evaluation: Annotated[str | None, typer.Option(help="Evaluation data, over the file's.")] = None,
    on: Annotated[str, typer.Option(help="What runs the converted models: simulation or onnxruntime.")] = "simulation",
    each_stage: Annotated[
        bool, typer.Option("--each-stage", help="Also measure with one converted stage at a time.")
    ] = False,
    output: Annotated[Path | None, typer.Option(help="Folder for the stages that are converted here.")] = None,
    as_json: Json = False,
) -> None:
    """Judge a composite model."""
    result = finish(lambda: passed(evaluated(file, candidate or (), evaluation, on, each_stage, output)), KEYS, as_json)
    if not as_json:
        show(result)


def passed(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """`found`; FailedCheckError where one of its gates failed."""
    failed = [gate for gate in found["gates"] if not gate["passed"]]
    if failed:
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        reason = failed[0]["reason"]
        raise FailedCheckError(f"gate failed: {failed[0]['expression']}: {reason}{more}", found)
    return found


def evaluated(
    file: Path, candidates: Sequence[str], evaluation: str | None, on: str, each_stage: bool, output: Path | None
) -> Mapping[str, Any]:
    """Fetches the models and the data, converts what is to be converted, and measures."""
    from flows.local.environment import settled_home
    from flows.request.composite_file import read_composite
    from flows.request.policy import check_file_code, limits_of_a_command
    from tasks.isolation import isolation
    from tasks.stages.composite import evaluate_stages_isolated
    from tasks.tracking.package_versions import versions

    if on not in ("simulation", "onnxruntime"):
        raise ConfigError(f"--on {on}: give simulation or onnxruntime")
    read = read_composite(file)
    for stage in read.stages.values():
        if stage.spec is not None:
            check_file_code(file, stage.spec)
    given = _given(candidates, read, file)
    where = settled_home()
    with isolation(limits_of_a_command()):
        request = _request(read, given, evaluation, where.cache, on == "simulation", each_stage, output)
        found = evaluate_stages_isolated(request)
    return {**_values(found), "depth": "simulated" if on == "simulation" else "executed", "versions": versions()}


def _given(candidates: Sequence[str], read: CompositeFile, file: Path) -> dict[str, str]:
    """The models of --candidate by stage. ConfigError for another form, and for a stage that does not exist."""
    given = {}
    for text in candidates:
        stage, equals, model = text.partition("=")
        if not (stage and equals and model):
            raise ConfigError(f"--candidate {text}: give STAGE=MODEL")
        if stage not in read.stages:
            raise ConfigError(f"--candidate {text}: {file} has no stage {stage!r}; it has {', '.join(read.stages)}")
        given[stage] = model
    return given


def _request(
    read: CompositeFile,
    given: Mapping[str, str],
    evaluation: str | None,
    cache: Path,
    simulated: bool,
    each_stage: bool,
    output: Path | None,
) -> CompositeRequest:
    """The request with every model and the data on this machine."""
    from autocast_core.composite import CompositeRequest, StageFiles
    from tasks.stages.fetch import fetch_batches, fetch_source

    def fetched(model: str, key: str) -> ModelRef:
        try:
            return fetch_source(model, cache).ref
        except InputError as error:
            raise ConfigError(f"{read.composite.where}: stages.{key}: {error}") from error

    files = {}
    for name, stage in read.stages.items():
        candidate = given.get(name, stage.candidate)
        files[name] = StageFiles(
            fetched(stage.model, f"{name}.model"),
            None if candidate is None else fetched(candidate, f"{name}.candidate"),
            stage.spec.config() if stage.spec is not None and candidate is None else None,
        )
    data = evaluation or read.evaluation
    return CompositeRequest(
        read.composite,
        files,
        None if data is None else fetch_batches(data, cache).path,
        read.batch_size,
        read.gates,
        simulated,
        each_stage,
        output,
        read.judges,
    )


def _values(found: CompositeEvaluation) -> dict[str, Any]:
    data = "seeded random data" if found.random else "evaluation data"
    return {
        "batches": found.batches,
        "fidelity": found.metrics,
        "stages": {name: fidelity.metrics() for name, fidelity in found.stages.items()},
        "gates": [asdict(gate) for gate in found.gates],
        "converted": dict(found.converted),
        "warnings": list(found.warnings),
        "notes": (f"measured by {found.fidelity.backend} over {found.batches} batches of {data}",),
    }


def show(result: Mapping[str, Any]) -> None:
    """What a person wants to know at the end."""
    from autocast_core.evaluate.metric_names import of_worst_outputs
    from flows.cli.terminal.tables import gate_rows, print_table

    print_table("Gates", ("gate", "measured", "result", "why"), gate_rows(result["gates"]))
    say(f"depth: {result['depth']}")
    for line in (*result["notes"], *(f"warning: {warning}" for warning in result["warnings"])):
        say(f"- {line}")
    for stage, path in result["converted"].items():
        say(f"{stage}: {path}")
    for name, value in result["fidelity"].items():
        say(f"{name} = {value:.6g}")
    for stage, metrics in result["stages"].items():
        for name, value in of_worst_outputs(metrics).items():
            say(f"{stage} alone: {name} = {value:.6g}")
