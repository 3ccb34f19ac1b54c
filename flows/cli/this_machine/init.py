"""`autocast init`: the files and settings that a team starts with."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.terminal.output import finish, say
from flows.cli.terminal.shared_options import Calibration, Precisions

KEYS = ("files", "settings")
HELP = """Write spec.yaml, fleet.yaml and prefect.yaml for this team, and its servers into your settings file.

On a terminal it asks what no option says; --yes takes the defaults.

Examples:

  autocast init

  autocast init --local --model model.onnx --calibration data.npz --yes

  autocast init --tracking-uri https://mlflow.example --prefect-api https://prefect.example/api --cpu-pool convert

Nothing that exists is replaced without --force. Then: autocast doctor, and autocast run model.onnx --spec spec.yaml.
"""


def add_to(app: typer.Typer) -> None:
    app.command("init", help=HELP)(init)


def init(
    folder: Annotated[Path, typer.Argument(help="Where the files are written.")] = Path(),
    model: Annotated[
        list[str] | None, typer.Option(help="A model to convert: path, s3:// or models:/ URI; may be repeated.")
    ] = None,
    calibration: Calibration = None,
    evaluation: Annotated[str | None, typer.Option(help="Evaluation data, in the same forms.")] = None,
    precision: Precisions = None,
    gate: Annotated[
        list[str] | None, typer.Option(help="What a model must reach, for example top1_drop<=0.001; may be repeated.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="Engine to fit plans to: tensorrt.")] = None,
    output: Annotated[str | None, typer.Option(help="Folder or s3:// prefix of a fleet's models.")] = None,
    cpu_pool: Annotated[str | None, typer.Option(help="Prefect's pool that converts. Default: autocast-cpu.")] = None,
    gpu_pool: Annotated[str | None, typer.Option(help="Prefect's pool with GPUs. Default: none.")] = None,
    tracking_uri: Annotated[str | None, typer.Option(help="MLflow's address, for the settings file.")] = None,
    prefect_api: Annotated[
        str | None, typer.Option(help="Prefect's API, ending in /api, for the settings file.")
    ] = None,
    s3_endpoint: Annotated[str | None, typer.Option(help="The S3 server, for the settings file.")] = None,
    local: Annotated[bool, typer.Option("--local", help="The servers that `autocast up` started.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object and nothing else; ask nothing.")
    ] = False,
) -> None:
    """Write what a team starts with."""
    given = {
        "models": tuple(model or ()),
        "calibration": calibration,
        "evaluation": evaluation,
        "precision": precision,
        "gates": tuple(gate or ()),
        "target": target,
        "output": output,
        "cpu_pool": cpu_pool,
        "gpu_pool": gpu_pool,
    }
    servers = {"MLFLOW_TRACKING_URI": tracking_uri, "PREFECT_API_URL": prefect_api, "AWS_ENDPOINT_URL_S3": s3_endpoint}
    asks = not yes and not as_json and sys.stdin.isatty()
    result = finish(lambda: _made(folder, given, servers, local, asks, force), KEYS, as_json)
    if not as_json:
        for file in result["files"]:
            say(f"wrote {file}")
        if result["settings"]:
            say(f"settings in {result['settings']}; credentials belong there too, see infra/docs/settings.md")
        say(f"next: autocast doctor, then autocast run {result['model']} --spec {folder / 'spec.yaml'}")


def _made(
    folder: Path,
    given: Mapping[str, Any],
    servers: Mapping[str, str | None],
    local: bool,
    asks: bool,
    force: bool,
) -> dict[str, Any]:
    from flows.local_stack.deployment_files import deployment_file
    from flows.scaffold.starting_files import Answers, deployments_file, fleet_file, spec_file
    from flows.scaffold.writing import check_free, write_all

    names = ("spec.yaml", "fleet.yaml", "prefect.yaml")
    if not force:
        check_free(folder, names)
    settings = _settings(servers, local)
    if asks:
        try:
            given, settings = _asked(given, settings)
        except typer.Abort as error:
            raise KeyboardInterrupt from error
    answers = Answers(**{name: value for name, value in given.items() if value}, inputs=_inputs(given["models"]))
    template = deployment_file("prefect.yaml").read_text(encoding="utf-8")
    texts = (spec_file(answers), fleet_file(answers), deployments_file(template, answers))
    files = write_all(folder, dict(zip(names, texts, strict=True)))
    model = (*answers.models, "MODEL")[0]
    return {"files": [str(file) for file in files], "settings": _saved(settings), "model": model}


def _settings(servers: Mapping[str, str | None], local: bool) -> dict[str, str]:
    """The variables for the settings file. ConfigError where an address is none, or no local servers were started."""
    import os

    from autocast_core.errors import ConfigError
    from flows.local_stack.default_folder import default_folder
    from flows.local_stack.stack_settings import client_environment, known_settings

    found: dict[str, str] = {}
    if local:
        known = known_settings(default_folder(os.environ))
        if known is None:
            raise ConfigError("--local: no servers were started here: run autocast up first")
        found = client_environment(known)
    for name, address in servers.items():
        schemes = ("http://", "https://", *(("sqlite:", "file:") if name == "MLFLOW_TRACKING_URI" else ()))
        if address and not address.startswith(schemes):
            raise ConfigError(f"{name}: {address!r} is not an address: write it with http:// or https://")
    return found | {name: address for name, address in servers.items() if address}


def _saved(settings: Mapping[str, str]) -> str | None:
    """Writes the settings file, where there is anything for it, and returns where it is."""
    import os

    from autocast_core.errors import ConfigError
    from flows.local.user_settings import LOCATION, settings_file, write_settings

    if not settings:
        return None
    path = settings_file(os.environ)
    if path is None:
        raise ConfigError(f"{LOCATION} is empty, so there is no settings file: unset it")
    write_settings(path, settings)
    return str(path)


def _inputs(models: tuple[str, ...]) -> tuple[str, ...]:
    """One line for each input of the first model, where it is a file of this machine."""
    from autocast_core.data import input_specs
    from autocast_core.model import load_model

    if not models or not Path(models[0]).is_file():
        return ()
    return tuple(str(each) for each in input_specs(load_model(models[0])))


def _asked(given: Mapping[str, Any], settings: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The answers of the person at the terminal, to what no option said."""
    answered, saved = dict(given), dict(settings)
    questions: tuple[tuple[str, str, str, Callable[[str], Any]], ...] = (
        ("models", "Models to convert, separated by spaces", "model.onnx", _words),
        ("calibration", "Calibration data (a path or s3://; empty: none yet)", "", str),
        ("precision", "Precision: fp16, bf16 or fp16,bf16", "fp16", str),
        ("gates", "What a model must reach, separated by spaces (empty: the default gates)", "", _words),
        ("cpu_pool", "Prefect's pool that converts", "autocast-cpu", str),
        ("gpu_pool", "Prefect's pool with GPUs (empty: none)", "", str),
    )
    for name, question, default, read in questions:
        if not answered[name]:
            answered[name] = read(typer.prompt(question, default, show_default=bool(default)).strip())
    if not saved:
        for name, question in (
            ("MLFLOW_TRACKING_URI", "MLflow's address (empty: a file on this machine)"),
            ("PREFECT_API_URL", "Prefect's API, ending in /api (empty: one that commands start)"),
            ("AWS_ENDPOINT_URL_S3", "The S3 server (empty: Amazon's, or none)"),
        ):
            saved[name] = typer.prompt(question, "", show_default=False).strip()
    return answered, _settings(saved, local=False)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())
