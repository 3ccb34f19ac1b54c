"""`autocast plan recipe`: what it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autocast_core.errors import ConfigError

KEYS = ("recipe", "output")


def learnt_within_limits(
    plans: Sequence[Path], name: str, family: str | None, model: Path | None, evaluation: Path | None, output: Path
) -> Mapping[str, Any]:
    """As `learnt`, isolated where this machine's owner wants that."""
    from flows.request.policy import limits_of_a_command
    from tasks.isolation import isolated, isolation

    if evaluation is not None and model is None:
        raise ConfigError("--evaluation measures the plan's model: give --model too")
    with isolation(limits_of_a_command()):
        return isolated(learnt, dict[str, Any], name="plan recipe")(plans, name, family, model, evaluation, output)


def learnt(
    plans: Sequence[Path], name: str, family: str | None, model: Path | None, evaluation: Path | None, output: Path
) -> dict[str, Any]:
    """Makes a recipe of the plans and writes it to `output`."""
    import re

    from autocast_core.model.atomic import check_inputs_stay, check_plain, write_whole
    from autocast_core.pipeline.learnt.plan_figures import graph_of_plan, plan_figures
    from autocast_core.pipeline.learnt.recipe_of_plan import PlanFigures, recipe_of_plans
    from autocast_core.plan import read_plan

    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,99}", name):
        raise ConfigError(f"--name {name!r}: give lower-case letters, digits and hyphens")
    check_plain(output)
    check_inputs_stay((output,), (*plans, *(path for path in (model, evaluation) if path is not None)))
    read = [read_plan(path) for path in plans]
    graphs = [] if model is None else [graph_of_plan(model, plan) for plan in read]
    figures = [PlanFigures()] * len(read)
    if model is not None and evaluation is not None:
        figures = [plan_figures(model, plan, evaluation) for plan in read]
    stem = (model or plans[0]).stem
    recipe = recipe_of_plans(name, family or f"models like {stem}", stem, read, graphs, figures)
    write_whole(output, recipe.to_json().encode())
    return {"recipe": recipe.plain(), "output": str(output)}


def lines(result: Mapping[str, Any]) -> list[str]:
    """What a person wants to know of a recipe that was made."""
    recipe = result["recipe"]
    shown = [
        f"{each['op_type']} {each['precision']} ({', '.join(each['types'])}), {each['nodes']} node(s): {each['reason']}"
        for each in recipe["decisions"]
    ]
    return [*shown, f"{len(recipe['decisions'])} decision(s): {result['output']}"]
