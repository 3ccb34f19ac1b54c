"""Models and data on this machine, and the digests by which they are known wherever they came from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from autocast_core.errors import DataError, InputError
from autocast_core.file_digest import combined_digest, files_digest
from autocast_core.model import reader
from autocast_core.model.reference import ModelRef
from tasks.isolation import isolated

MODEL_FILE = "model.onnx"
"""The model's name in a folder or prefix that stands for a model."""
DATA_SUFFIXES = (".npz", ".json")

model_files = isolated(reader.model_files, tuple[Path, ...])
"""As autocast_core's, which parses the model."""


def find_model(path: Path) -> Path:
    """The ONNX file at `path`, or in the folder there. InputError where there is none."""
    model = path / MODEL_FILE if path.is_dir() else path
    if not model.is_file():
        missing = f"holds no {MODEL_FILE}" if path.is_dir() else "does not exist"
        raise InputError(f"model {path} {missing}: give an ONNX file, or a folder with {MODEL_FILE}")
    return model


def model_ref(path: Path) -> ModelRef:
    """The model file and the digest over it and its external data. ModelError where it is not a complete model."""
    files = model_files(path.absolute())
    return ModelRef(path.absolute(), files_digest(files[0].parent, files))


def data_files(path: Path) -> tuple[Path, ...]:
    """The file at `path`, or all .npz and .json files of the folder in name order. DataError where there are none."""
    if path.is_file():
        return (path,)
    if not path.is_dir():
        raise DataError(f"data {path} does not exist: give a .npz file, a folder of them, or a Polygraphy JSON file")
    files = sorted(file for file in path.iterdir() if file.suffix in DATA_SUFFIXES and file.is_file())
    if not files:
        raise DataError(f"data folder {path} holds no .npz and no .json file: put the batches there")
    return tuple(files)


def digest_of(digests: Mapping[str, str]) -> str:
    """The digest of files known by relative name and sha256, as files_digest gives it for the files themselves."""
    return next(iter(digests.values())) if len(digests) == 1 else combined_digest(digests)
