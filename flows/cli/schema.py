"""`autocast schema`: the JSON schema of spec files."""

from __future__ import annotations

import json

import typer


def add_to(app: typer.Typer) -> None:
    app.command("schema", help="Print the JSON schema of a spec file (editors complete and check with it).")(schema)


def schema() -> None:
    """Print the JSON schema of a spec file."""
    from flows.request.spec import Spec

    print(json.dumps(Spec.model_json_schema(), indent=2))
