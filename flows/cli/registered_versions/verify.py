"""`autocast verify`: recomputes the chain of digests from the source to a registered version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from flows.cli.terminal.output import finish
from flows.cli.terminal.shared_options import Json, RegisteredVersion
from flows.cli.terminal.tables import print_table

KEYS = ("model", "verified", "links")
HELP = """Check that a registered conversion is what it says: recompute every digest from the source to its files.

The source is fetched from where the version says it came from, the run's plan is applied to it, and the result must be
the registered files, byte for byte. Exit code 2 names the first link that does not hold.

With --key also its proof is checked (see `autocast sign`): then no file, artifact, metric, parameter or tag has changed
since it was signed, whoever may write to the servers. Exit code 3 says that it has no proof by this key, or is not what
that attests.

Examples:

  autocast verify models:/resnet-fp16/3
  autocast verify models:/resnet-fp16/3 --key public.pem
"""


def add_to(app: typer.Typer) -> None:
    app.command("verify", help=HELP)(verify)


def verify(
    model: RegisteredVersion,
    key: Annotated[
        str | None, typer.Option(help="The public key, a PEM file, that the version must be signed with.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Verify a registered conversion."""
    result = finish(lambda: verified(model, key), KEYS, as_json)
    if not as_json:
        rows = [(link["what"], link["found"], "holds") for link in result["links"]]
        print_table("Chain of digests", ("link", "recomputed", "result"), rows)
        print(f"{result['model']} is what it says: all {len(result['links'])} links hold")


def verified(model: str, key: str | None) -> Mapping[str, Any]:
    """Verifies; the error of a broken chain has the links too."""
    from flows.local.session import reading_session
    from flows.request.policy import limits_of_a_command
    from tasks.isolation import isolation

    with reading_session() as home, isolation(limits_of_a_command()):
        from flows.proof.keys import read_public_key
        from flows.review.verification import verify_version

        return verify_version(model, home, read_public_key(key) if key else None).to_json()
