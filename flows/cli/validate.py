"""`autocast validate`: judge any converted model against its FP32 original."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.output import finish

HELP = """Judge a converted model, whoever converted it.

Examples:

  autocast validate model.fp16.onnx --reference model.onnx --evaluation data.npz

  autocast validate model.fp16.onnx --reference model.onnx --on onnxruntime --json

  autocast validate model.fp16.onnx --reference model.onnx --on tensorrt
"""
KEYS = ("depth", "skipped", "fidelity", "layers", "versions", "findings", "metrics")


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
    result = finish(lambda: judged(model, reference, evaluation, on, spec), KEYS, as_json)
    if not as_json:
        print(f"depth: {result['depth']}")
        for line in (*result["skipped"], *result["findings"]):
            print(f"- {line}")
        for name, value in {**result["fidelity"], **result["metrics"]}.items():
            print(f"{name} = {value:.6g}")


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
        metrics = found.metrics() if found.package else {}
        return {
            "depth": found.depth,
            "skipped": list(found.skipped),
            "findings": [f"{each.node or found.package}: {each.words}" for each in found.findings],
            "fidelity": {name: value for name, value in metrics.items() if ".fidelity." in name},
            "metrics": {name: value for name, value in metrics.items() if ".fidelity." not in name},
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
        "metrics": {},
        "versions": versions(),
    }
