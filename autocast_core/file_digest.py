"""Digests of files, in hexadecimal: sha256 of the bytes; of several files, of the canonical JSON of theirs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from autocast_core.errors import InputError


def file_digest(path: str | Path) -> str:
    """The digest of a file's bytes, read in blocks. InputError where it cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def files_digest(root: str | Path, files: Iterable[str | Path]) -> str:
    """The digest of one file, or of the canonical JSON {path relative to `root`: digest} of several."""
    paths = [Path(file) for file in files]
    if len(paths) == 1:
        return file_digest(paths[0])
    return combined_digest({path.relative_to(root).as_posix(): file_digest(path) for path in paths})


def combined_digest(digests: Mapping[str, str]) -> str:
    """The digest of several files from theirs: sha256 of the canonical JSON {relative path: digest}."""
    text = json.dumps(dict(digests), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
