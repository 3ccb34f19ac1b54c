"""`autocast lint`: what is wrong or needlessly expensive in a converted model, seen in its file."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from autocast_core.text import how_many
from flows.cli.terminal.output import FailedCheckError, finish, say
from flows.cli.terminal.shared_options import Json

HELP = """Look for what is wrong or needlessly expensive in an ONNX model, whoever converted it. Nothing is run.

Examples:

  autocast lint model.fp16.onnx

  autocast lint model.fp16.onnx --reference model.onnx --level note --json

Each finding has a code, the node, what it costs and what fixes it. Every code has a page in the documentation.

Exit code 3 with --strict where there are findings of the level.
"""
KEYS = ("findings", "attention", "types")
_SHOWN = 20


class LowestLevel(StrEnum):
    """The lowest level that is shown."""

    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


def add_to(app: typer.Typer) -> None:
    app.command("lint", help=HELP)(lint)


def lint(
    model: Annotated[Path, typer.Argument(help="ONNX model: a path.")],
    reference: Annotated[
        Path | None, typer.Option(help="The FP32 model that it was made from: weights are compared.")
    ] = None,
    level: Annotated[LowestLevel, typer.Option(help="Show findings of this level and above.")] = LowestLevel.WARNING,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 where there are such findings.")] = False,
    as_json: Json = False,
) -> None:
    """Look for what is wrong or needlessly expensive in a model."""

    def checked() -> Mapping[str, Any]:
        result = found(model, reference, level)
        if not as_json:
            show(result)
        if strict and result["findings"]:
            raise FailedCheckError(f"{model}: {how_many(len(result['findings']), 'finding')}", result)
        return result

    finish(checked, KEYS, as_json)


def found(model: Path, reference: Path | None, level: LowestLevel) -> Mapping[str, Any]:
    """Reads the files and runs all checks. ModelError where one cannot be read or is invalid ONNX."""
    from autocast_core.lint import Level, inspect_model
    from autocast_core.model import load_model, read_model
    from autocast_core.verify import check_source

    candidate, original = load_model(model), None if reference is None else read_model(reference)
    check_source(candidate)
    inspection = inspect_model(candidate, original)
    return {
        "findings": [each.to_json() for each in inspection.at_least(Level[level.name])],
        "attention": {"found": inspection.attention_cores, "whole": inspection.attention_whole},
        "types": dict(inspection.types),
    }


def show(result: Mapping[str, Any]) -> None:
    """The findings as lines, grouped by code: places first, then once what they cost and what fixes them."""
    by_code: dict[str, list[Mapping[str, Any]]] = {}
    for each in result["findings"]:
        by_code.setdefault(f"{each['code']} {each['level']}: {each['title']}", []).append(each)
    for title, findings in by_code.items():
        say(f"{title} ({len(findings)})")
        for each in findings[:_SHOWN]:
            size = "" if each["bytes"] is None else f" [{each['bytes']:,} bytes]"
            say(f"  {each['node']}: {each['detail']}{size}")
        if len(findings) > _SHOWN:
            say(f"  … and {len(findings) - _SHOWN} more: see --json")
        say(f"  costs: {findings[0]['costs']}")
        say(f"  fix:   {findings[0]['remedy']}")
    attention = result["attention"]
    types = ", ".join(f"{count} in {name}" for name, count in result["types"].items()) or "none with floats"
    say(f"nodes: {types}; attention cores: {attention['whole']} of {attention['found']} whole")
    if not result["findings"]:
        say("no findings")
