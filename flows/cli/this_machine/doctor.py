"""`autocast doctor`: what to fix on this machine, in its settings and in the servers that they name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autocast_core.text import how_many
from flows.cli.terminal.output import FailedCheckError, finish, say
from flows.cli.terminal.shared_options import Json

if TYPE_CHECKING:
    from flows.doctor.check_result import Results

HELP = """Look at Python, packages, settings, servers, credentials, buckets, keys, GPU and disk, and say what to fix.

Examples:

  autocast doctor

  autocast doctor --bucket models --bucket s3://datasets/imagenet/ --json

It only reads, and prints no secrets. Exit code 3 where there is a problem; warnings alone are exit code 0.
"""
KEYS = ("checks",)


def add_to(app: typer.Typer) -> None:
    app.command("doctor", help=HELP)(doctor)


def doctor(
    bucket: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A bucket, or s3:// prefix, to look at; may be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Look at everything, and say what to fix."""

    def examined() -> Mapping[str, Any]:
        checks = [each.to_json() for each in examined_here(tuple(bucket or ()))]
        if not as_json:
            show(checks)
        count = sum(each["state"] == "problem" for each in checks)
        if count:
            raise FailedCheckError(f"{how_many(count, 'problem')} to fix", {"checks": checks})
        return {"checks": checks}

    finish(examined, KEYS, as_json)


def examined_here(buckets: tuple[str, ...]) -> Results:
    """What all checks find on this machine, with the settings of this process."""
    import os

    from autocast_core.process.cache_folder import default_cache_folder
    from flows.doctor.check_result import Surroundings
    from flows.doctor.checks import HEALTH_CHECKS
    from flows.doctor.examination import examine
    from flows.local.home import home

    around = Surroundings(dict(os.environ), home(), default_cache_folder(), buckets)
    return examine(around, HEALTH_CHECKS)


def show(checks: Sequence[Mapping[str, str | None]]) -> None:
    """One line a result, and below it what fixes it."""
    width = max(len(str(each["name"])) for each in checks)
    for each in checks:
        say(f"{each['state']:<7}  {each['name']:<{width}}  {each['what']}")
        if each["remedy"] is not None:
            say(f"{'':<7}  {'':<{width}}  fix: {each['remedy']}")
