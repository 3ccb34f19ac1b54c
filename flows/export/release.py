"""Collects what belongs to a registered version, and lays it out in the form that is asked for."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from autocast_core.errors import InputError, OutputError
from autocast_core.file_digest import file_digest
from flows.export.bom import bill_of_materials
from flows.export.oci import write_layout
from flows.export.triton import config
from flows.proof.proof import ATTESTATION, MODEL_SIGNATURE
from flows.review.conversion_record import read_conversion
from tasks.storage.local import model_files, model_ref
from tasks.storage.model_registry import download_folder, onnx_file, resolve_tracking_uri
from tasks.tracking.artifacts import download_artifact, folder_files
from tasks.tracking.model_facts import ports_of
from tasks.tracking.reading import RunRecord, VersionRecord

BOM = "bom.cdx.json"
_ARTIFACTS = ("plan.json", "report.html", "summary.md")


class ExportForm(StrEnum):
    """How a version is laid out."""

    FOLDER = "folder"
    TRITON = "triton"
    OCI = "oci"


@dataclass(frozen=True)
class Exported:
    """What was written: the files by relative name; `digest` of an OCI manifest, else of no file."""

    version: str
    form: ExportForm
    output: str
    files: tuple[str, ...]
    signed: bool
    digest: str | None = None


def export_version(uri: str, form: ExportForm, output: Path) -> Exported:
    """Writes the version at `uri` into the new folder `output`, with card, plan, report, bill of materials and proof.

    OutputError where `output` exists or cannot be written; InputError and ServiceError as reading the version;
    UnconvertibleError where Triton has no form for an input or output.
    """
    if output.exists() or output.is_symlink():
        raise OutputError(f"output {output} exists: give the name of a new folder")
    version, run = read_conversion(uri)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        # Of a relative folder Python 3.11 makes a relative path.
        with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent.absolute()) as scratch:
            return _export(version, run, form, output, Path(scratch))
    except OSError as error:
        raise OutputError(f"output {output} cannot be written: {error.strerror or error}") from error


def _export(version: VersionRecord, run: RunRecord, form: ExportForm, output: Path, scratch: Path) -> Exported:
    content, made = scratch / "content", scratch / "made"
    download_folder(str(version), content)
    model = model_ref(onnx_file(content, str(version)))
    ports = ports_of(model)
    signed = _add_artifacts(run, content)
    names = [path.relative_to(content).as_posix() for path in model_files(model.path)]
    digests = {name: file_digest(content / name) for name in names}
    materials = {name: (run.places.get(name, ""), digest) for name, digest in run.inputs.items()}
    bom = bill_of_materials(version.name, version.version, ports, digests, materials, run.metrics)
    (content / BOM).write_text(json.dumps(bom, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    digest = None
    if form is ExportForm.TRITON:
        _as_triton(made / version.name, version, content, names, config(version.name, ports, _precision(version)))
    elif form is ExportForm.OCI:
        layers = {name: content / name for name in folder_files(content)}
        made.mkdir()
        digest = write_layout(made, layers, version.version, _annotations(version))
    else:
        content.rename(made)
    files = folder_files(made)
    made.rename(output)
    return Exported(str(version), form, str(output), files, signed, digest)


def _add_artifacts(run: RunRecord, content: Path) -> bool:
    """Adds the run's artifacts beside the model; whether a proof is among them."""
    for name in _ARTIFACTS:
        download_artifact(resolve_tracking_uri(), run.run_id, name, content)
    try:
        for name in (MODEL_SIGNATURE, ATTESTATION):
            download_artifact(resolve_tracking_uri(), run.run_id, name, content)
    except InputError:
        return False
    return True


def _as_triton(folder: Path, version: VersionRecord, content: Path, model: list[str], text: str) -> None:
    """The model as Triton reads it, and in ``about``, which Triton ignores, what belongs to it.

    The model is there once more, under the names that its proof speaks of: hard links, which take no room.
    """
    folder.mkdir(parents=True)
    (folder / "config.pbtxt").write_text(text, encoding="utf-8")
    (folder / version.version).mkdir()
    for place, name in enumerate(model):
        # Triton's name of an ONNX file; its external data are found by their own.
        target = folder / version.version / ("model.onnx" if place == 0 else name)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(content / name, target)
    content.rename(folder / "about")


def _precision(version: VersionRecord) -> str:
    return version.tags["autocast.precision"]


def _annotations(version: VersionRecord) -> dict[str, str]:
    return {
        "org.opencontainers.image.title": version.name,
        "org.opencontainers.image.version": version.version,
        "autocast.source_sha256": version.tags["autocast.source_sha256"],
        "autocast.output_sha256": version.tags["autocast.output_sha256"],
        "autocast.precision": _precision(version),
    }
