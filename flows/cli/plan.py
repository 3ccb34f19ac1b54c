"""`autocast plan show|diff|apply|import|recipe|schema`: plan files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autocast_core.text import how_many
from flows.cli.terminal.output import finish, say
from flows.cli.terminal.shared_options import Json
from flows.cli.terminal.tables import print_table

if TYPE_CHECKING:
    from autocast_core.plan import NodeDecision, PrecisionPlan

PlanFile = Annotated[Path, typer.Argument(help="plan.json of a run, or written by --save_plan.")]
PlannedModel = Annotated[Path, typer.Argument(help="FP32 ONNX file of the plan's architecture.")]
PlanOutput = Annotated[Path, typer.Option("--output", "-o", help="Where to write the plan.")]

RANKED = 20
"""Nodes in the table of shares; the plan has all of them."""

SHOW = """Show what a plan decides: nodes by precision and rule, and why nodes stay in FP32.

Example:

  autocast plan show plan.json --nodes 'graph/encoder.*'
"""
DIFF = """Show the nodes that two plans decide differently.

Example:

  autocast plan diff before.json after.json
"""
APPLY = """Convert a model with a plan instead of data, for example the next checkpoint of the same architecture.

Example:

  autocast plan apply plan.json next.onnx next.fp16.onnx
"""


TRANSFER = """Carry a plan over to another depth of the same family, for example from 6 to 12 layers.

Decisions follow the names of blocks, else the order of nodes; nothing is measured. Check the result with
`autocast validate`.

Example:

  autocast plan transfer plan.json deeper.onnx --output deeper.json
"""

PLACE = """Move nodes of a plan to the other type where fewer bytes move then: Casts to smaller tensors, or none.

Attention cores and what options decided stay; the result is at least as accurate.

Example:

  autocast plan place-casts plan.json model.onnx --output placed.json
"""

IMPORT = """Carry over what other tools are told about precisions: layers' precisions of trtexec, or a block list.

For a model it makes options, as a spec file; of a plan it makes an edited plan.

Examples:

  autocast plan import '*:fp16,/norm*:fp32' model.onnx --output spec.yaml

  autocast plan import block_list.json plan.json --output edited.json
"""


RECIPE = """Make a recipe of a plan: its decisions that rest on data, by pattern, for other models of the family.

With --model nodes are known again by what they read and what reads them, else by name; with --evaluation it also holds
what the decisions are worth.

Examples:

  autocast plan recipe plan.json --name my-family --output recipe.json

  autocast plan recipe plan.json --name my-family --model model.onnx --evaluation data.npz --output recipe.json

  autocast run other.onnx --recipe recipe.json
"""


def add_to(app: typer.Typer) -> None:
    plans = typer.Typer(no_args_is_help=True, help="Show, compare, apply, carry over and edit precision plans.")
    plans.command("show", help=SHOW)(show)
    plans.command("diff", help=DIFF)(diff)
    plans.command("apply", help=APPLY)(apply)
    plans.command("transfer", help=TRANSFER)(transfer)
    plans.command("place-casts", help=PLACE)(place_casts)
    plans.command("import", help=IMPORT)(import_)
    plans.command("recipe", help=RECIPE)(recipe)
    plans.command("schema", help="Print the JSON schema of plan files, for those who read or write them.")(schema)
    app.add_typer(plans, name="plan")


def show(
    plan: PlanFile,
    nodes: Annotated[str | None, typer.Option(help="Only nodes whose id matches this regular expression.")] = None,
    as_json: Json = False,
) -> None:
    """Show a plan."""
    result = finish(lambda: shown(plan, nodes), ("summary", "rules", "nodes"), as_json)
    if not as_json:
        rules = sorted(result["rules"].items(), key=lambda item: -item[1])
        print_table("Rules", ("rule", "nodes"), [(rule, str(count)) for rule, count in rules])
        rows = [
            (node["id"], node["op_type"], node["precision"], node["rule"], node["reason"]) for node in result["nodes"]
        ]
        print_table("Nodes", ("node", "operator", "precision", "rule", "reason"), rows)
        if result["attribution"]:
            say(f"nodes by their share of the output error if all were lowered, the first {RANKED}:")
            columns = ("node", "operator", "share", "local error", "overflows", "underflows")
            print_table("", columns, result["attribution"])
        say(result["summary"])
        if result["repaired"]:
            say(result["repaired"])


def diff(before: PlanFile, after: PlanFile, as_json: Json = False) -> None:
    """Compare two plans."""
    result = finish(lambda: compared(before, after), ("changes",), as_json)
    if not as_json:
        rows = [(change["id"], change["before"] or "–", change["after"] or "–") for change in result["changes"]]
        print_table("Differences", ("node", "before", "after"), rows)
        say(how_many(len(rows), "node differs", "nodes differ"))


def schema() -> None:
    """Print the JSON schema of a plan file."""
    import json

    from autocast_core.plan.schema import plan_schema

    print(json.dumps(plan_schema(), indent=2))


def apply(
    plan: PlanFile,
    model: PlannedModel,
    output: Annotated[Path, typer.Argument(help="The ONNX file to write.")],
    as_json: Json = False,
) -> None:
    """Apply a plan."""
    result = finish(
        lambda: applied_within_limits(plan, model, output), ("output", "output_sha256", "summary", "warnings"), as_json
    )
    if not as_json:
        for warning in result["warnings"]:
            say(f"warning: {warning}")
        say(f"{result['summary']}: {result['output']}")


def transfer(
    plan: PlanFile,
    model: Annotated[Path, typer.Argument(help="FP32 ONNX file of another depth of the plan's family.")],
    output: PlanOutput,
    as_json: Json = False,
) -> None:
    """Carry a plan over."""
    from flows.cli.terminal.transferred import KEYS, lines, transferred_within_limits

    result = finish(lambda: transferred_within_limits(plan, model, output), KEYS, as_json)
    if not as_json:
        for line in lines(result):
            say(line)


def place_casts(
    plan: PlanFile,
    model: PlannedModel,
    output: PlanOutput,
    as_json: Json = False,
) -> None:
    """Place Casts."""
    from flows.cli.terminal.placed_casts import KEYS, placed_within_limits

    result = finish(lambda: placed_within_limits(plan, model, output), KEYS, as_json)
    if not as_json:
        say(result["placed"])
        say(f"{result['summary']}: {result['output']}")


def import_(
    settings: Annotated[str, typer.Argument(help="The settings, or the path of a file of them.")],
    subject: Annotated[Path, typer.Argument(help="FP32 ONNX file, or a plan.json to edit.")],
    output: Annotated[Path | None, typer.Option(help="Where to write the spec or the plan.")] = None,
    as_json: Json = False,
) -> None:
    """Import settings."""
    from flows.cli.terminal.imported import KEYS, imported_within_limits, lines

    result = finish(lambda: imported_within_limits(settings, subject, output), KEYS, as_json)
    if not as_json:
        for line in lines(result):
            say(line)


def recipe(
    plan: Annotated[list[Path], typer.Argument(help="Plans of one model, for one 16-bit type each.")],
    name: Annotated[str, typer.Option(help="The recipe's name: lower-case letters, digits and hyphens.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the recipe.")],
    family: Annotated[str | None, typer.Option(help="Which models it is for, in one sentence.")] = None,
    model: Annotated[Path | None, typer.Option(help="The FP32 ONNX file that the plans were made for.")] = None,
    evaluation: Annotated[Path | None, typer.Option(help="Data to measure the plans on.")] = None,
    as_json: Json = False,
) -> None:
    """Make a recipe."""
    from flows.cli.terminal.learnt_recipe import KEYS, learnt_within_limits, lines

    result = finish(lambda: learnt_within_limits(plan, name, family, model, evaluation, output), KEYS, as_json)
    if not as_json:
        for line in lines(result):
            say(line)


def shown(path: Path, pattern: str | None) -> Mapping[str, Any]:
    """The plan's summary, its rules with their counts, and its nodes: those that match, else those kept in FP32."""
    import re

    from autocast_core.config import Precision
    from autocast_core.errors import ConfigError
    from autocast_core.plan import read_plan

    plan = read_plan(path)
    try:
        wanted = re.compile(pattern) if pattern is not None else None
    except re.error as error:
        raise ConfigError(f"--nodes {pattern!r} is not a valid regular expression: {error}") from error
    nodes = [node for node in plan.nodes if (wanted.match(node.id) if wanted else node.precision is Precision.FP32)]
    return {
        "summary": plan.summary(),
        "repaired": plan.measured_summary(),
        "rules": dict(Counter(node.rule for node in plan.nodes)),
        "nodes": [
            {key: str(getattr(node, key)) for key in ("id", "op_type", "precision", "rule", "reason")} for node in nodes
        ],
        "attribution": _ranked(plan),
    }


def _ranked(plan: PrecisionPlan) -> list[tuple[str, ...]]:
    """A row for each of the nodes with the largest shares of the error."""
    return [
        (
            node.id,
            node.op_type,
            f"{node.share:.2%}",
            "–" if node.local is None else f"{node.local:.3g}",
            str(node.overflow),
            str(node.underflow),
        )
        for node in (plan.data.attribution or ())[:RANKED]
    ]


def compared(before: Path, after: Path) -> Mapping[str, Any]:
    """The nodes that differ, each with what both plans say of it."""
    from autocast_core.plan import diff, read_plan

    changes = diff(read_plan(before), read_plan(after))
    return {
        "changes": [
            {"id": change.id, "before": _described(change.before), "after": _described(change.after)}
            for change in changes
        ]
    }


def applied_within_limits(plan: Path, model: Path, output: Path) -> Mapping[str, Any]:
    """As `applied`, isolated where this machine's owner wants that."""
    from flows.request.policy import limits_of_a_command
    from tasks.isolation import isolated, isolation

    with isolation(limits_of_a_command()):
        return isolated(applied, dict[str, Any])(plan, model, output)


def applied(plan: Path, model: Path, output: Path) -> dict[str, Any]:
    """Converts `model` by `plan`."""
    from autocast_core.model.atomic import check_inputs_stay, check_plain
    from autocast_core.pipeline.convert import convert_file
    from autocast_core.plan import read_plan

    check_plain(output)
    check_inputs_stay((output,), (plan, model))
    conversion = convert_file(model, output, plan=read_plan(plan))
    return {
        "output": str(conversion.output.path),
        "output_sha256": conversion.output.sha256,
        "summary": conversion.plan.summary(),
        "warnings": list(conversion.warnings),
    }


def _described(decision: NodeDecision | None) -> str | None:
    if decision is None:
        return None
    return f"{decision.precision} by {decision.rule}" + (f": {decision.reason}" if decision.reason else "")
