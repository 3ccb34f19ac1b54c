"""What `autocast plan place-casts` does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

KEYS = ("output", "summary", "placed", "placement")


def placed_within_limits(plan: Path, model: Path, output: Path) -> Mapping[str, Any]:
    """As `placed`, isolated where this machine's owner wants that."""
    from flows.request.policy import limits_of_a_command
    from tasks.isolation import isolated, isolation

    with isolation(limits_of_a_command()):
        return isolated(placed, dict[str, Any])(plan, model, output)


def placed(plan: Path, model: Path, output: Path) -> dict[str, Any]:
    """Writes the plan with its Casts placed to `output`; raises as place_casts_file."""
    from msgspec import UNSET, structs

    from autocast_core.model.atomic import check_inputs_stay, check_plain, write_whole
    from autocast_core.pipeline.given_plans.place_casts import place_casts_file
    from autocast_core.plan import read_plan

    check_plain(output)
    check_inputs_stay((output,), (plan, model))
    found = place_casts_file(model, read_plan(plan))
    write_whole(output, found.to_json().encode())
    record = found.data.placement
    assert record is not UNSET
    fields = {**structs.asdict(record), "moved": list(record.moved)}
    return {"output": str(output), "summary": found.summary(), "placed": record.summary(), "placement": fields}
