"""`autocast validate`: judge any converted model against its FP32 original."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autocast_core.errors import BackendError, ConfigError
from flows.cli.terminal.output import FailedCheckError, finish, say
from flows.cli.terminal.shared_options import Device, FP32Engine, Json, Judges

if TYPE_CHECKING:
    from autocast_core.model.reference import ModelRef
    from autocast_core.pipeline.stages.evaluate import Evaluated
    from flows.local.home import Home
    from flows.request.spec import Spec

HELP = """Judge a converted model, whoever converted it.

Examples:

  autocast validate model.fp16.onnx --reference model.onnx --evaluation data.npz

  autocast validate model.fp16.onnx --reference model.onnx --evaluation data.npz --metric my_task:f1 --json

  autocast validate model.fp16.onnx --reference model.onnx --on onnxruntime

  autocast validate model.fp16.onnx --reference model.onnx --on tensorrt --device h100

Fidelity is over all batches; the worst batch of each output is named. noise_floor/* is the FP32 model against itself
without graph optimisation: smaller errors say nothing. An array `labels` in the data adds task/top1 and task/top5.

Exit code 3 where TensorRT refuses the model or has it in other types than the model says; the node is named.
"""
KEYS = ("depth", "skipped", "fidelity", "layers", "engine_view", "fp32_view", "estimates", "versions")


class Backend(StrEnum):
    """What judges."""

    SIMULATION = "simulation"
    ONNXRUNTIME = "onnxruntime"
    TENSORRT = "tensorrt"


def add_to(app: typer.Typer) -> None:
    app.command("validate", help=HELP)(validate)


def validate(
    model: Annotated[str, typer.Argument(help="The converted model: path, file://, s3:// or models:/ URI.")],
    reference: Annotated[str, typer.Option(help="The FP32 model it was made from.")],
    evaluation: Annotated[str | None, typer.Option(help="Evaluation data; default: seeded random.")] = None,
    on: Annotated[Backend, typer.Option(help="What judges.")] = Backend.SIMULATION,
    metric: Annotated[
        str | None, typer.Option(help="module:function(outputs, labels), measured on both models; higher is better.")
    ] = None,
    judge: Judges = None,
    spec: Annotated[Path | None, typer.Option(help="YAML file of options: providers, profiles, plugins …")] = None,
    device: Device = None,
    fp32_engine: FP32Engine = None,
    as_json: Json = False,
) -> None:
    """Judge a converted model."""
    given = {"metric": metric, "device": device, "fp32_engine": fp32_engine, "judges": judge or None}
    result = finish(lambda: accepted(judged(model, reference, evaluation, on, spec, given)), KEYS, as_json)
    if not as_json:
        say(f"depth: {result['depth']}")
        for line in (*result["skipped"], *result["notes"]):
            say(f"- {line}")
        for name, value in result["fidelity"].items():
            say(f"{name} = {value:.6g}")
        for side, each in result["estimates"].items():
            say(f"{side} engine: estimated {each['ms']:.3g} ms on {each['name']}, by a roofline over its kernels")


def accepted(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """`found`; FailedCheckError, which names the first node, where the engine does not take the model as it is."""
    if found["findings"]:
        more = f" (and {len(found['findings']) - 1} more)" if len(found["findings"]) > 1 else ""
        raise FailedCheckError(f"the model is not accepted: {found['findings'][0]}{more}", found)
    return found


def judged(
    model: str,
    reference: str,
    evaluation: str | None,
    on: Backend,
    spec_file: Path | None = None,
    given: Mapping[str, Any] | None = None,
) -> Mapping[str, Any]:
    """Fetches both models and the data, and measures; `given` are options that stand above those of the spec's file."""
    from flows.local.environment import settled_home
    from flows.request.policy import check_file_code, limits_of_a_command
    from flows.request.spec import load_spec
    from tasks.isolation import isolation
    from tasks.stages.conversion import is_valid
    from tasks.stages.fetch import fetch_source

    given = given or {}
    spec = load_spec(spec_file, given)
    spec.config()
    check_file_code(spec_file, spec, given.get("metric"))
    for name, option in (("metric", "--metric"), ("judges", "--judge")):
        if on is Backend.TENSORRT and given.get(name) is not None:
            raise ConfigError(
                f"{option} is measured --on simulation or onnxruntime: TensorRT's outputs are not kept for it"
            )
    where = settled_home()
    with isolation(limits_of_a_command(spec)):
        candidate, original = (fetch_source(uri, where.cache).ref for uri in (model, reference))
        try:
            return _measured(candidate, original, evaluation, on, spec, where)
        except BackendError:
            # A runtime is blamed only for models that are valid.
            is_valid(original)
            is_valid(candidate)
            raise


def _measured(
    candidate: ModelRef, original: ModelRef, evaluation: str | None, on: Backend, spec: Spec, where: Home
) -> Mapping[str, Any]:
    from autocast_core.pipeline.saved import JobRequest
    from tasks.stages.fetch import fetch_batches
    from tasks.tracking.package_versions import versions

    data = fetch_batches(evaluation, where.cache).path if evaluation else None
    request = JobRequest(original, spec.config(), where.work, evaluation=data, metric=spec.metric)
    if on is Backend.TENSORRT:
        from tasks.stages.validate import validate_isolated

        found = validate_isolated(request, candidate)
        plain = found.to_json()
        return {
            "depth": found.depth,
            "skipped": list(found.skipped),
            "findings": [f"{each.node or found.package}: {each.words}" for each in found.findings],
            "fidelity": found.metrics(),
            "layers": plain["layers"],
            "engine_view": plain["engine_view"],
            "fp32_view": plain["fp32_view"],
            "estimates": plain["estimates"],
            "versions": {**versions(), **found.versions},
            "notes": (),
        }
    from autocast_core.evaluate.metric_names import ONNXRUNTIME, SIMULATION
    from tasks.stages.conversion import evaluate_models

    prefix = SIMULATION if on is Backend.SIMULATION else ONNXRUNTIME
    with _messages_of(spec.metric, where):
        evaluated = evaluate_models(request, candidate, (prefix,))
    measured = prefix in evaluated.fidelity
    return {
        "depth": ("simulated" if on is Backend.SIMULATION else "executed") if measured else "none",
        "skipped": list(evaluated.skipped),
        "findings": [],
        "fidelity": evaluated.metrics,
        "layers": [],
        "engine_view": None,
        "fp32_view": None,
        "estimates": {},
        "versions": versions(),
        "notes": _notes(evaluated, prefix),
    }


@contextmanager
def _messages_of(metric: str | None, where: Home) -> Iterator[None]:
    """What the user's function says, tracebacks among it, goes to a log file, not to the terminal."""
    import sys

    from flows.local.environment import logs_in
    from flows.local.session import log_file

    if metric is None:
        yield
        return
    log = log_file(where)
    print(f"messages of {metric}: {log}", file=sys.stderr)
    with logs_in(log):
        yield


def _notes(evaluated: Evaluated, prefix: str) -> tuple[str, ...]:
    """On what was measured, and the worst batch of each output."""
    fidelity = evaluated.fidelity.get(prefix)
    if fidelity is None:
        return ()
    origin = "evaluation data" if evaluated.data == "evaluation" else "seeded random data"
    notes = [f"measured by {fidelity.backend} over {evaluated.batches} batches of {origin}"]
    for place, output in enumerate(fidelity.outputs):
        number = max(range(len(fidelity.by_batch)), key=lambda n: fidelity.by_batch[n][place].rel_l2)
        worst = fidelity.by_batch[number][place]
        notes.append(f"worst batch of {output.name}: {number}, rel_l2 {worst.rel_l2:.6g}, max_abs {worst.max_abs:.6g}")
    return tuple(notes)
