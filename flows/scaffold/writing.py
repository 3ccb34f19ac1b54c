"""Writes new files into a folder, all or none."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from autocast_core.errors import OutputError


def check_free(folder: Path, names: Iterable[str]) -> None:
    """OutputError where one of the files exists."""
    if there := [str(folder / name) for name in names if os.path.lexists(folder / name)]:
        verb = "exists" if len(there) == 1 else "exist"
        raise OutputError(f"{', '.join(there)} {verb}: --force replaces them, another FOLDER leaves them")


def write_all(folder: Path, texts: Mapping[str, str]) -> tuple[Path, ...]:
    """Writes each text to the file of its name and returns the files. OutputError where one cannot be written."""
    files = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            # Written beside and renamed: a link of that name is replaced, not followed.
            beside = folder / f".{name}.{os.getpid()}"
            beside.write_text(text, encoding="utf-8")
            files.append(beside.replace(folder / name))
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror}): give another FOLDER") from error
    return tuple(files)
