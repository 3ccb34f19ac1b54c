"""`autocast promote`: an alias for a version that still is what was reviewed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from flows.cli.terminal.output import finish, say
from flows.cli.terminal.shared_options import Json, RegisteredVersion
from flows.cli.terminal.tables import gate_rows, print_table

KEYS = ("model", "alias", "output_sha256", "gates")
HELP = """Set an alias on a registered conversion, after checking its digest and its gates again.

Nothing is changed where the registered files are not those that were measured (exit code 2) or a gate does not hold on
the run's metrics (exit code 3). With AUTOCAST_TRUSTED_KEY, a public key, only a version that is signed with it and was
not changed since is promoted (exit code 3).

Example:

  autocast promote models:/resnet-fp16/3 --alias champion
"""


def add_to(app: typer.Typer) -> None:
    app.command("promote", help=HELP)(promote)


def promote(
    model: RegisteredVersion,
    alias: Annotated[str, typer.Option(help="The alias to set, for example champion.")],
    as_json: Json = False,
) -> None:
    """Promote a registered conversion."""
    result = finish(lambda: promoted(model, alias), KEYS, as_json)
    if not as_json:
        say(f"sha256 of the registered files: {result['output_sha256']}, as recorded")
        print_table("Gates", ("gate", "measured", "result", "why"), gate_rows(result["gates"]))
        say(f"{result['model']} has the alias {result['alias']}")


def promoted(model: str, alias: str) -> Mapping[str, Any]:
    """Checks and promotes."""
    from flows.local.session import reading_session
    from flows.request.policy import limits_of_a_command
    from tasks.isolation import isolation

    with reading_session() as home, isolation(limits_of_a_command()):
        from flows.review.promotion import promote

        return promote(model, alias, home).to_json()
