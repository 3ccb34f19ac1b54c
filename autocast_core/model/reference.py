"""How a model travels between stages that do not share memory: by path and digest, never as bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ModelRef:
    """A model file and its digest (sha256, hex; of several files as `files_digest`).

    `data_folder` is where external data are looked for when that is not the file's own folder, as for a skeleton whose
    weights lie in the file that it was made from.
    """

    path: Path
    digest: str
    data_folder: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        folder = None if self.data_folder is None else str(self.data_folder)
        return {"path": str(self.path), "digest": self.digest, "data_folder": folder}

    @staticmethod
    def from_json(raw: Mapping[str, Any]) -> ModelRef:
        """What `to_json` gave."""
        folder = raw.get("data_folder")
        return ModelRef(Path(raw["path"]), str(raw["digest"]), None if folder is None else Path(folder))
