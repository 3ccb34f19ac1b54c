"""`autocast results`: where runs of deployments keep their results."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from flows.cli.terminal.output import finish
from flows.cli.terminal.shared_options import Json

KEYS = ("location", "variable", "block")
HELP = """Tell Prefect's server where results of runs lie on S3, so that every machine can read them.

Workers keep them there once their environment has PREFECT_RESULTS_DEFAULT_STORAGE_BLOCK=autocast-s3-results/autocast;
each reads and writes with its own S3 settings. PREFECT_API_URL names the server.
"""


def add_to(app: typer.Typer) -> None:
    app.command("results", help=HELP)(results)


def results(
    location: Annotated[
        str, typer.Argument(envvar="AUTOCAST_RESULT_STORAGE", help="An s3:// prefix, which ends in /.")
    ],
    as_json: Json = False,
) -> None:
    """Save the block on Prefect's server."""
    result = finish(lambda: _save(location), KEYS, as_json)
    if not as_json:
        print(f"{result['location']}; set in the workers' environment: {result['variable']}={result['block']}")


def _save(location: str) -> dict[str, Any]:
    import os

    from autocast_core.errors import ConfigError
    from flows.local.environment import settled_home

    settled_home()
    if not os.environ.get("PREFECT_API_URL"):
        raise ConfigError("PREFECT_API_URL is not set: set it to the server whose workers share results")
    from flows.local.prefect_errors import prefect_errors
    from tasks.prefect.result_storage import result_prefix, save_result_storage
    from tasks.settings import RESULT_BLOCK, RESULT_BLOCK_VARIABLE
    from tasks.storage.objects.s3 import check_bucket, connect

    check_bucket(connect(), result_prefix(location))
    with prefect_errors():
        save_result_storage(location)
    return {"location": location, "variable": RESULT_BLOCK_VARIABLE, "block": RESULT_BLOCK}
