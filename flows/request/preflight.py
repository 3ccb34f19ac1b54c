"""Checks of a request that need nothing to be started.

`check_request` asks only what this machine's file system knows; `check_inputs` reads headers and asks S3.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from autocast_core.errors import DataError, InputError, OutputError
from flows.request.spec import Spec


def check_request(model: str, spec: Spec) -> None:
    """InputError where a location is invalid, a local file is missing, or the output cannot be written."""
    from autocast_core.model.atomic import check_plain
    from tasks.storage.publication import output_name
    from tasks.storage.uri import LocalLocation, parse_uri

    source = parse_uri(model)
    if isinstance(source, LocalLocation) and not source.path.exists():
        raise InputError(f"model {model} does not exist: give the path or URI of an ONNX file")
    for option in ("calibration", "evaluation"):
        uri = getattr(spec, option)
        location = parse_uri(uri) if uri else None
        if isinstance(location, LocalLocation) and not location.path.exists():
            raise DataError(f"{option} data {uri} does not exist: give a .npz file or a folder of them")
    if spec.output:
        name = output_name(spec.output)
        target = parse_uri(spec.output)
        if isinstance(target, LocalLocation):
            file = target.path if target.path.name == name else target.path / name
            if isinstance(source, LocalLocation) and file.resolve() == _model_file(source.path).resolve():
                raise OutputError(f"output {spec.output} is the source itself: give another path")
            check_plain(file)
            _check_writable(target.path.absolute(), is_folder=file is not target.path)
    spec.config()


def check_inputs(model: str, spec: Spec, *, judged: bool) -> None:
    """What a command would otherwise learn only once its servers run: whether local data fits a local model, whether
    the objects, buckets and credentials of S3 are there, and, where the result is `judged`, on which data.

    Of a model and of data only headers are read. DataError where data does not fit or is missing, ModelError where the
    model cannot be read, InputError or ServiceError where S3 says so. Files that are to be read in an isolated process
    alone are not read here.
    """
    from flows.request.policy import limits_of_a_command

    if judged and not (spec.calibration or spec.evaluation or spec.allow_random):
        raise DataError(
            "no data to judge the converted model on: give --evaluation or --calibration (.npz, or a folder of them),"
            " or set allow_random: true in the spec"
        )
    if limits_of_a_command(spec) is None:
        _check_data_fits(model, spec)
    _check_s3((model, spec.calibration, spec.evaluation), spec.output)


def _check_data_fits(model: str, spec: Spec) -> None:
    from autocast_core.model import read_model
    from autocast_core.pipeline.job import Job
    from tasks.storage.uri import LocalLocation, parse_uri

    source = parse_uri(model)
    if not isinstance(source, LocalLocation):
        return
    job = Job(source.path, spec.config(), allow_nonfinite=spec.allow_nonfinite)
    structure = read_model(_model_file(source.path))
    for uri in dict.fromkeys((spec.calibration, spec.evaluation)):
        location = parse_uri(uri) if uri else None
        if isinstance(location, LocalLocation):
            job.batches(structure, location.path)


def _check_s3(sources: Iterable[str | None], output: str | None) -> None:
    """The bucket of the output, and single objects of the sources; one that is not there may be a folder."""
    from tasks.storage.uri import S3Location, parse_uri

    found = [location for uri in sources if uri and isinstance(location := parse_uri(uri), S3Location)]
    target = parse_uri(output) if output else None
    if not found and not isinstance(target, S3Location):
        return
    from tasks.storage.objects import s3

    client = s3.connect()
    for location in found:
        if location.is_prefix or s3.find(client, location) is None:
            s3.check_bucket(client, location)
    if isinstance(target, S3Location):
        s3.check_bucket(client, target)


def check_inputs_stay(output: str, model: Path, data: Iterable[Path]) -> None:
    """OutputError where publishing at `output` would replace a file of the model's (external data too) or of the
    data's. The model is read, isolated where that is asked for, only where there is a file to be replaced."""
    from autocast_core.model import atomic
    from autocast_core.pipeline.job import files_of_data
    from tasks.storage.local import model_files
    from tasks.storage.publication import PLAN_FILE, output_location
    from tasks.storage.uri import LocalLocation, parse_uri

    if not isinstance(parse_uri(output), LocalLocation):
        return
    file = Path(output_location(output))
    targets = (*atomic.model_outputs(file), *(() if output.endswith(".onnx") else (file.with_name(PLAN_FILE),)))
    if existing := [path for path in targets if path.exists()]:
        atomic.check_inputs_stay(
            existing, (*model_files(model), *(each for one in data for each in files_of_data(one)))
        )


def _model_file(path: Path) -> Path:
    """The file itself, or the one that a folder stands for."""
    from tasks.storage.local import MODEL_FILE

    return path / MODEL_FILE if path.is_dir() else path


def _check_writable(path: Path, is_folder: bool) -> None:
    from autocast_core.model.atomic import check_destination

    if not is_folder:
        check_destination(path, 0)
        return
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    if not existing.is_dir():
        raise OutputError(f"output {path}: {existing} is a file; give FILE.onnx, or a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise OutputError(f"output {path}: folder {existing} cannot be written; give another one")
