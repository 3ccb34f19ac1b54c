"""`autocast fleet`: the flow convert-fleet in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.terminal.output import finish
from flows.cli.terminal.shared_options import Json

HELP = """Convert many models with one spec; run it again to convert only what is missing.

FILE is YAML: `models:` with one `- model: LOCATION` each (and its own `spec:` where it differs), `spec:` for all, and
`output:` for a folder or s3:// prefix that receives NAME-PRECISION/ of each.

Examples:

  autocast fleet fleet.yaml

  autocast fleet fleet.yaml --runner dask=tcp://scheduler:8786 --json
"""


def add_to(app: typer.Typer) -> None:
    app.command("fleet", help=HELP)(fleet)


def fleet(
    file: Annotated[Path, typer.Argument(help="YAML file of models.")],
    runner: Annotated[str, typer.Option(help="threads, dask (a cluster of this machine) or dask=ADDRESS.")] = "threads",
    as_json: Json = False,
) -> None:
    """Convert many models."""
    result = finish(lambda: _convert(file, runner, as_json), ("models",), as_json)
    if not as_json:
        show(result["models"])


def _convert(file: Path, runner: str, as_json: bool) -> Mapping[str, Any]:
    import sys

    from flows.cli.terminal.progress_bar import shown_progress
    from flows.local.session import flow_session
    from flows.request.fleet_file import FleetError, FleetResult, ModelOutcome, read_fleet
    from flows.request.policy import check_file_code

    models = list(read_fleet(file))
    for one in models:
        check_file_code(file, one.spec)
    with shown_progress({}) as listener, flow_session(listener) as log:
        print(f"messages of Prefect and MLflow: {log}", file=sys.stderr)
        from flows.convert_fleet import convert_fleet

        try:
            plain = convert_fleet.with_options(task_runner=task_runner(runner, log))(models)
        except FleetError as error:
            if not as_json:
                show(error.result.to_json()["models"])
            raise
    return FleetResult([ModelOutcome.from_json(raw) for raw in plain]).to_json()


def task_runner(name: str, log: Path) -> Any:
    """Prefect's task runner of this name; processes that it starts write their messages to the file `log`. ConfigError
    for an unknown one, or one that is not installed."""
    from autocast_core.errors import ConfigError
    from tasks.dask_preload import LOG_VARIABLE

    kind, _, address = name.partition("=")
    if kind == "threads" and not address:
        from prefect.task_runners import ThreadPoolTaskRunner

        return ThreadPoolTaskRunner(max_workers=4)
    if kind != "dask":
        raise ConfigError(f"runner {name!r}: give threads, dask or dask=ADDRESS")
    try:
        from prefect_dask.task_runners import DaskTaskRunner
    except ImportError as error:
        raise ConfigError("runner dask is not installed: pip install 'autocast-flow[dask]'") from error
    if address:
        return DaskTaskRunner(address=address)
    # One conversion a process: each uses several threads of its own.
    workers = {
        "threads_per_worker": 1,
        "dashboard_address": None,
        "preload": ["tasks.dask_preload"],
        "env": {LOG_VARIABLE: str(log.absolute())},
    }
    return DaskTaskRunner(cluster_kwargs=workers)


def show(models: Sequence[Mapping[str, Any]]) -> None:
    """One row a model: what became of it, and where it is or why there is none."""
    from flows.cli.terminal.tables import print_table

    rows = [
        (one["model"], "converted", one["summary"], one["registered"] or one["output"] or "")
        if one["ok"]
        else (one["model"], "failed", one["error"], "")
        for one in models
    ]
    print_table("Models", ("model", "state", "what was done, or why not", "registered"), rows)
