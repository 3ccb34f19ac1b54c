"""`autocast export`: a registered conversion as an artifact to deploy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer

from flows.cli.terminal.output import finish, say
from flows.cli.terminal.shared_options import Json, RegisteredVersion

KEYS = ("version", "form", "output", "files", "signed", "digest")
HELP = """Write a registered conversion to a new folder, with its card, plan, report, bill of materials and proof.

--as folder holds the files side by side; triton is a model repository, with a config.pbtxt from the model's inputs and
outputs; oci is an OCI image layout, to be pushed with skopeo or oras. The bill of materials is CycloneDX 1.6.

Examples:

  autocast export models:/resnet-fp16@champion --as triton --output repository
  autocast export models:/resnet-fp16/3 --as oci --output layout
  skopeo copy oci:layout:3 docker://registry.example.com/resnet-fp16:3
"""


def add_to(app: typer.Typer) -> None:
    app.command("export", help=HELP)(export)


def export(
    model: RegisteredVersion,
    output: Annotated[str, typer.Option(help="The folder to write, which must not exist.")],
    form: Annotated[str, typer.Option("--as", help="folder, triton or oci.")] = "folder",
    as_json: Json = False,
) -> None:
    """Export a registered conversion."""
    result = finish(lambda: exported(model, form, output), KEYS, as_json)
    if not as_json:
        proof = "with its proof" if result["signed"] else "not signed"
        say(f"{result['version']} is in {result['output']}: {len(result['files'])} files, {proof}")


def exported(model: str, form: str, output: str) -> Mapping[str, Any]:
    """Exports."""
    from pathlib import Path

    from autocast_core.errors import ConfigError
    from flows.local.session import reading_session
    from flows.request.policy import limits_of_a_command
    from tasks.isolation import isolation

    if form not in ("folder", "triton", "oci"):
        raise ConfigError(f"--as is {form!r}: give folder, triton or oci")
    with reading_session(), isolation(limits_of_a_command()):
        from flows.export.release import ExportForm, export_version

        return asdict(export_version(model, ExportForm(form), Path(output)))
