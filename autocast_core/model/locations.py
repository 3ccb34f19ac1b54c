"""Where external data may lie: inside the model's folder, or the folder of the file that the model is a link to.

The rule is ONNX's (docs/ExternalData.md: a relative path, no parent components) and holds for the resolved path too,
so that no link leads out of these folders.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

from autocast_core.errors import MissingModelError, ModelError
from autocast_core.model.tensors import DataFile

SELF = "\0"
"""The location of tensors that lie in the model file itself; no path has this name."""

_LONGEST = 4096
"""The longest path that Linux takes, in characters (PATH_MAX)."""


@dataclass(frozen=True)
class FoundData:
    """External data: the path as the model says it, the file itself, and the folder that it must not leave."""

    said: Path
    file: DataFile
    folder: Path


@dataclass(frozen=True)
class DataFolders:
    """The folders in which the model at `model` may have its data, the preferred one first.

    `found` is a cache by location, filled by `find`.
    """

    model: Path
    folders: tuple[Path, ...]
    found: dict[str, FoundData] = field(default_factory=dict, compare=False, repr=False)

    @staticmethod
    def of(model: Path, data_folder: Path | None = None) -> DataFolders:
        """Those of the model file at `model`, or `data_folder` alone where it is given."""
        if data_folder is not None:
            return DataFolders(model, (data_folder.absolute(),))
        return DataFolders(model, tuple(dict.fromkeys((model.absolute().parent, model.resolve().parent))))

    def find(self, location: str, tensor: str) -> FoundData:
        """The file at `location`. ModelError where there is none, or it lies outside, or is not a regular file."""
        if location not in self.found:
            self.found[location] = self._find(location, tensor)
        return self.found[location]

    def _find(self, location: str, tensor: str) -> FoundData:
        where = f"{self.model}: external data of tensor {tensor!r}"
        if location == SELF:
            real = self.model.resolve()
            return FoundData(self.model, DataFile.of(real), real.parent)
        if not isinstance(location, str):  # protobuf hands out bytes that are not UTF-8 as they are
            raise ModelError(f"{where}: the location is not valid UTF-8: export the model again")
        if not location:
            raise ModelError(f"{where}: no location is given: export the model again")
        if _leaves(location):
            raise ModelError(f"{where}: location {location!r} is not inside the model's folder: move the data there")
        if len(location) > _LONGEST:
            shown = f"{location[:80]}…"
            raise ModelError(
                f"{where}: location {shown!r} cannot be used: it has {len(location)} characters: shorten it"
            )
        said = self._existing(location, where)
        real = said.resolve()
        folder = _containing(real, (path.resolve() for path in reversed(self.folders)))
        if folder is None:
            raise ModelError(f"{where}: {said} leads to {real}, outside the model's folder: put the file itself there")
        if not stat.S_ISREG(real.stat().st_mode):
            raise ModelError(f"{where}: {said} is not a regular file: put the file itself there")
        return FoundData(said, DataFile.of(real), folder)

    def _existing(self, location: str, where: str) -> Path:
        try:
            for folder in self.folders:
                if (folder / location).exists():
                    return folder / location
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{where}: location {location!r} cannot be used: {error}: export the model again"
            ) from error
        raise MissingModelError(f"{where}: {self.folders[0] / location} is missing: put it beside the model")


def _leaves(location: str) -> bool:
    posix, windows = PurePosixPath(location), PureWindowsPath(location)
    return "\0" in location or posix.is_absolute() or bool(windows.anchor) or ".." in windows.parts


def _containing(path: Path, folders: Iterable[Path]) -> Path | None:
    return next((folder for folder in folders if path.is_relative_to(folder)), None)
