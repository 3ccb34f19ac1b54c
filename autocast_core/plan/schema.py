"""The JSON schema of a plan file, for those who read or write one without this package."""

from __future__ import annotations

from typing import Any

import msgspec

from autocast_core.plan.plan import PrecisionPlan


def plan_schema() -> dict[str, Any]:
    """The schema of ``PrecisionPlan.to_json``: JSON Schema, draft 2020-12. `format` is the version of the form."""
    _, definitions = msgspec.json.schema_components([PrecisionPlan], ref_template="#/$defs/{name}")
    plan = definitions.pop("PrecisionPlan")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **plan,
        "title": "Precision plan",
        "required": ["format", *plan["required"]],
        "$defs": definitions,
    }
