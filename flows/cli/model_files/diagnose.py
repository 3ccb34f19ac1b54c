"""`autocast diagnose`: where and why a model gives other numbers than another form of it."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autocast_core.errors import ConfigError
from flows.cli.terminal.output import FailedCheckError, finish, say
from flows.cli.terminal.shared_options import Json

if TYPE_CHECKING:
    from tasks.stages.diagnose import DiagnosisFound

HELP = """Find the node where a model goes wrong, whoever converted, optimised or exported it.

REFERENCE and CANDIDATE are two ONNX models that mean the same: FP32 and FP16, a model and its optimised graph.

Examples:

  autocast diagnose model.onnx model.fp16.onnx --data data.npz

  autocast diagnose model.onnx other.onnx --map input_ids=tokens --html diagnosis.html

  autocast diagnose model.onnx model.fp16.onnx --data data.npz --fix fixed.onnx

  autocast diagnose model.onnx model.fp16.onnx --data data.npz --reproduce fault/

16-bit types are simulated: stored in 16 bits, computed in FP32. Without --data, seeded random data.

Exit code 3 where an output is beyond the tolerance; the culprit is named.
"""
KEYS = (
    "diverges",
    "sentence",
    "culprits",
    "outputs",
    "first_divergence",
    "begins",
    "swallowed",
    "tensors",
    "matched_by",
    "unmatched",
    "data",
    "batches",
    "worst_batch",
    "passes",
    "backend",
    "html",
    "fixed",
    "reproduction",
)
_SHOWN = 12


def add_to(app: typer.Typer) -> None:
    app.command("diagnose", help=HELP)(diagnose)


def diagnose(
    reference: Annotated[str, typer.Argument(help="The model that is right: path, file://, s3:// or models:/ URI.")],
    candidate: Annotated[str, typer.Argument(help="The model in question.")],
    data: Annotated[str | None, typer.Option(help="Data for the reference's inputs; default: seeded random.")] = None,
    map_: Annotated[
        list[str] | None, typer.Option("--map", help="REFERENCE=CANDIDATE: names of an input, output or tensor.")
    ] = None,
    tolerance: Annotated[
        float | None, typer.Option(help="Least SQNR of an output in dB. Default: FP16 40, BF16 22, FP32 60.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Also write the diagnosis as one HTML page.")] = None,
    fix: Annotated[
        Path | None, typer.Option(help="Convert the reference again, with the remedies, to this file.")
    ] = None,
    reproduce: Annotated[
        Path | None, typer.Option(help="Folder for the smallest sub-models that show the first culprit, with a script.")
    ] = None,
    spec: Annotated[Path | None, typer.Option(help="YAML file of options: providers, shapes, batch_size …")] = None,
    as_json: Json = False,
) -> None:
    """Find where a model goes wrong."""

    def run() -> Mapping[str, Any]:
        values = diagnosed(reference, candidate, data, map_ or (), tolerance, html, fix, reproduce, spec)
        if not as_json:
            show(values)
        return agreed(values)

    finish(run, KEYS, as_json)


def agreed(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """`values`; FailedCheckError where an output is beyond its tolerance."""
    if values["diverges"]:
        raise FailedCheckError(values["sentence"], values)
    return values


def diagnosed(
    reference: str,
    candidate: str,
    data: str | None,
    mapped: Sequence[str],
    tolerance: float | None,
    html: Path | None,
    fix: Path | None,
    reproduce: Path | None,
    spec_file: Path | None,
) -> Mapping[str, Any]:
    """Fetches both models and the data, and diagnoses; writes the page, the model and the reproduction that are asked
    for."""
    from autocast_core.diagnose.matching.prepared import parse_map
    from autocast_core.model.atomic import check_destination, check_inputs_stay
    from autocast_core.pipeline.saved import JobRequest
    from flows.local.environment import settled_home
    from flows.request.policy import check_file_code, limits_of_a_command
    from flows.request.spec import load_spec
    from tasks.isolation import isolation
    from tasks.stages.diagnose import diagnose_isolated
    from tasks.stages.fetch import fetch_batches, fetch_source

    if tolerance is not None and not math.isfinite(tolerance):
        raise ConfigError("--tolerance: give a number of decibels, for example 40")
    for written in filter(None, (html, fix)):
        check_destination(written, 0)
        check_inputs_stay((written,), map(Path, filter(None, (reference, candidate, data))))
    pairs, spec = parse_map(mapped), load_spec(spec_file, {})
    check_file_code(spec_file, spec)
    where = settled_home()
    with isolation(limits_of_a_command(spec)):
        ours, theirs = (fetch_source(uri, where.cache).ref for uri in (reference, candidate))
        evaluation = fetch_batches(data, where.cache).path if data else None
        request = JobRequest(ours, spec.config(), where.work, evaluation=evaluation)
        found = diagnose_isolated(request, theirs, pairs, tolerance, html is not None, fix, reproduce)
    return _values(found, html)


def _values(found: DiagnosisFound, html: Path | None) -> Mapping[str, Any]:
    from autocast_core.model.atomic import write_whole

    if html is not None and found.page is not None:
        write_whole(html, found.page.encode())
    fixed = None
    if found.fixed is not None:
        fixed = {"path": str(found.fixed), "sentence": found.fixed_sentence}
    return {
        **found.values,
        "html": None if html is None else str(html),
        "fixed": fixed,
        "reproduction": found.reproduction,
    }


def show(values: Mapping[str, Any]) -> None:
    """Prints the diagnosis for people."""
    from flows.cli.terminal.tables import print_table

    say(values["sentence"])
    origin = "the given data" if values["data"] == "calibration" else "seeded random data: give --data for real values"
    matched = ", ".join(f"{count} by {how}" for how, count in values["matched_by"].items())
    say(f"measured by {values['backend']} over {values['batches']} batches of {origin}")
    say(f"matched tensors: {matched}")
    _show_unmatched(values["unmatched"])
    culprits = values["culprits"]
    print_table("Culprits", ("node", "operator", "what", "share", "fixed alone"), _culprit_rows(culprits), _SHOWN)
    for culprit in culprits[:1]:
        say(f"reference: {', '.join(culprit['reference_nodes'][:6]) or culprit['reference_value']}")
        _show_remedy(culprit["remedy"])
    rows = [(each["fault"], each["node"], each["op_type"], f"{each['count']:,}") for each in values["begins"]]
    print_table("Where it begins", ("fault", "node", "operator", "elements"), rows, _SHOWN)
    lost = [(each["node"], each["op_type"], each["came_from"]) for each in values["swallowed"]]
    print_table("Swallowed: infinity or NaN in, finite out", ("node", "operator", "came from"), lost, _SHOWN)
    print_table("Outputs", ("output", "SQNR", "largest error", "result"), _output_rows(values["outputs"]), _SHOWN)
    if values["fixed"] is not None:
        say(f"converted again: {values['fixed']['path']}: {values['fixed']['sentence']}")
    if values["reproduction"] is not None:
        reproduction = values["reproduction"]
        folder = reproduction["folder"]
        say(f"no reproduction: {reproduction['reason']}" if folder is None else f"reproduction: {folder}")


def _show_remedy(remedy: Mapping[str, Any]) -> None:
    say(f"remedy: {remedy['text']}")
    if remedy["plan_edit"] is not None:
        settings = shlex.quote(json.dumps(remedy["plan_edit"]))
        say(f"in a plan of the reference: autocast plan import {settings} plan.json --output edited.json")


def _show_unmatched(unmatched: Mapping[str, Sequence[str]]) -> None:
    for side, nodes in unmatched.items():
        if nodes:
            more = f" and {len(nodes) - 6:,} more" if len(nodes) > 6 else ""
            say(f"unmatched nodes of the {side}: {', '.join(nodes[:6])}{more}")


def _culprit_rows(culprits: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    return [
        (
            (each["candidate_nodes"] or [each["candidate_value"]])[0],
            each["op_type"],
            f"{each['kind']}: {each['explanation']}",
            f"{each['share']:.0%}",
            "–" if each["effect"] is None else f"takes away {each['effect']:.0%}",
        )
        for each in culprits
    ]


def _output_rows(outputs: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    from autocast_core.report.text import number

    return [
        (
            each["reference"],
            f"{each['sqnr_db']:.1f} dB",
            number(each["max_abs"]),
            "diverges" if each["diverges"] else "within the tolerance",
        )
        for each in outputs
    ]
