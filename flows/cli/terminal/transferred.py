"""What `autocast plan transfer` does and prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

KEYS = ("output", "summary", "carried", "kept", "left", "unused", "warnings")
_SHOWN = 5


def transferred_within_limits(plan: Path, model: Path, output: Path) -> Mapping[str, Any]:
    """As `transferred_to`, isolated where this machine's owner wants that."""
    from flows.request.policy import limits_of_a_command
    from tasks.isolation import isolated, isolation

    with isolation(limits_of_a_command()):
        return isolated(transferred_to, dict[str, Any])(plan, model, output)


def transferred_to(plan: Path, model: Path, output: Path) -> dict[str, Any]:
    """Writes the plan for `model` to `output`; raises as transfer_plan."""
    from autocast_core.model.atomic import check_inputs_stay, check_plain, write_whole
    from autocast_core.pipeline.given_plans.transfer_plan import transfer_plan
    from autocast_core.plan import read_plan

    check_plain(output)
    check_inputs_stay((output,), (plan, model))
    found = transfer_plan(model, read_plan(plan))
    write_whole(output, found.plan.to_json().encode())
    return {
        "output": str(output),
        "summary": found.plan.summary(),
        "carried": len(found.carried),
        "kept": list(found.kept),
        "left": list(found.left),
        "unused": list(found.unused),
        "warnings": list(found.plan.warnings),
    }


def lines(result: Mapping[str, Any]) -> Iterator[str]:
    """What the command prints: what was carried over, and which nodes were not."""
    yield from (f"warning: {warning}" for warning in result["warnings"])
    for key, what in (
        ("left", "has no counterpart in the plan: decided by the rules"),
        ("kept", "stays FP32 for what is known of this model"),
        ("unused", "is FP32 in the plan and has no counterpart in the model"),
    ):
        nodes = result[key]
        yield from (f"- {node} {what}" for node in nodes[:_SHOWN])
        if len(nodes) > _SHOWN:
            yield f"- … and {len(nodes) - _SHOWN} more"
    yield f"{result['summary']}: {result['output']}"
