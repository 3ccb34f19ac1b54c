"""`autocast validate`: judge any converted model against its FP32 original."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from autocast_core.errors import GateError
from flows.cli.output import finish
from flows.values import without_infinity

HELP = """Judge a converted model, whoever converted it.

Examples:

  autocast validate model.fp16.onnx --reference model.onnx --evaluation data.npz

  autocast validate model.fp16.onnx --reference model.onnx --on onnxruntime --json

  autocast validate model.fp16.onnx --reference model.onnx --on tensorrt

Exit code 3 where TensorRT refuses the model or has it in other types than the model says; the node is named.
"""
KEYS = ("depth", "skipped", "fidelity", "layers", "versions")


class RefusedError(GateError):
    """The engine refuses the model, or has it in other types; `result` is what was found."""

    def __init__(self, message: str, result: Judgement) -> None:
        super().__init__(message)
        self.result = result


@dataclass(frozen=True)
class Judgement:
    """What was found, by the keys of the JSON."""

    values: Mapping[str, Any]

    def to_json(self) -> Mapping[str, Any]:
        """The values, without NaN or infinity (None)."""
        return dict(without_infinity(dict(self.values)))


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
    spec: Annotated[Path | None, typer.Option(help="YAML file of options: providers, profiles, plugins …")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Judge a converted model."""
    result = finish(lambda: accepted(judged(model, reference, evaluation, on, spec)), KEYS, as_json)
    if not as_json:
        print(f"depth: {result['depth']}")
        for line in result["skipped"]:
            print(f"- {line}")
        for name, value in result["fidelity"].items():
            print(f"{name} = {value:.6g}")


def accepted(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """`found`; RefusedError, which names the first node, where the engine does not take the model as it is."""
    if found["findings"]:
        more = f" (and {len(found['findings']) - 1} more)" if len(found["findings"]) > 1 else ""
        raise RefusedError(f"the model is not accepted: {found['findings'][0]}{more}", Judgement(found))
    return found


def judged(
    model: str, reference: str, evaluation: str | None, on: Backend, spec_file: Path | None = None
) -> Mapping[str, Any]:
    """Fetches both models and the data, and measures."""
    from flows.environment import set_defaults
    from flows.home import home
    from flows.spec import load_spec
    from tasks.fetch import fetch_batches, fetch_source
    from tasks.versions import versions

    config = load_spec(spec_file, {}).config()
    where = home()
    set_defaults(where)
    candidate, original = (fetch_source(uri, where.cache).ref for uri in (model, reference))
    data = fetch_batches(evaluation, where.cache).path if evaluation else None
    if on is Backend.TENSORRT:
        from tasks.validate import validate_model

        found = validate_model(candidate.path, reference=original, data=data, config=config)
        return {
            "depth": found.depth,
            "skipped": list(found.skipped),
            "findings": [f"{each.node or found.package}: {each.words}" for each in found.findings],
            "fidelity": found.metrics() if found.package else {},
            "layers": found.to_json()["layers"],
            "versions": {**versions(), **found.versions},
        }
    from tasks.evaluate import ONNXRUNTIME, SIMULATION, evaluate_model

    prefix = SIMULATION if on is Backend.SIMULATION else ONNXRUNTIME
    evaluated = evaluate_model(original, candidate, data, None, config, backends=(prefix,))
    measured = prefix in evaluated.fidelity
    return {
        "depth": ("simulated" if on is Backend.SIMULATION else "executed") if measured else "none",
        "skipped": list(evaluated.skipped),
        "findings": [],
        "fidelity": evaluated.metrics,
        "layers": [],
        "versions": versions(),
    }
