"""The folder that keeps what was fetched: whole sets of files under their digest, and where each reference leads.

    references/REFERENCE   JSON: digest and place of what a pinned object or registered version was found to be
    models/SET/…           a model's files, real ones: ONNX refuses external data that are links
    data/SET/…             calibration and evaluation files; SET is the digest of the files' names and content
    parts/                 transfers under way, and whole objects that have no place yet
    locks/                 one file a reference, locked while it is fetched

Every file appears under its final name by a rename, and locks end with their process, so that processes may share the
folder and be killed at any time.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from autocast_core.errors import OutputError
from autocast_core.model.digest import combined_digest, file_digest
from tasks.storage.local import digest_of


def default_cache_folder() -> Path:
    """$AUTOCAST_CACHE, else autocast in $XDG_CACHE_HOME, else ~/.cache/autocast (XDG Base Directory Specification)."""
    if chosen := os.environ.get("AUTOCAST_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "autocast"


@dataclass(frozen=True)
class CachedFile:
    """A file whose content has been hashed: `digest` is sha256 in hex."""

    path: Path
    digest: str


@dataclass(frozen=True)
class Cache:
    """A cache folder. Its methods raise OutputError where the folder cannot be written or its disk is full."""

    root: Path

    @staticmethod
    def open(folder: Path | None) -> Cache:
        """The cache in `folder`, else in the default folder; made where it is missing."""
        cache = Cache((folder or default_cache_folder()).absolute())
        with cache.writing():
            for name in ("references", "models", "data", "parts", "locks"):
                (cache.root / name).mkdir(parents=True, exist_ok=True)
        return cache

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Explains an OSError inside the block."""
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"cache folder {self.root} cannot be written ({error.strerror or error}); free space there, or set "
                "AUTOCAST_CACHE to another folder"
            ) from error

    @contextmanager
    def locked(self, reference: str) -> Iterator[None]:
        """Waits until no other thread or process holds the lock of `reference`."""
        with self.writing():
            descriptor = os.open(self.root / "locks" / reference, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def part(self, name: str) -> Path:
        """Where a transfer called `name` is collected."""
        return self.root / "parts" / name

    def recall(self, reference: str) -> CachedFile | None:
        """Where `reference` was found to lead, if that file still exists; its content is not looked at."""
        try:
            entry = json.loads((self.root / "references" / reference).read_text())
            found = CachedFile(self.root / entry["path"], entry["digest"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if found.path.is_file() else None

    def remember(self, reference: str, file: CachedFile) -> None:
        """Lets `reference` lead to `file`, which lies in this folder."""
        entry = {"path": str(file.path.relative_to(self.root)), "digest": file.digest}
        write_text(self.root / "references" / reference, json.dumps(entry))

    def expect(self, reference: str) -> CachedFile:
        """As `recall`, for a reference that was fetched just before."""
        file = self.recall(reference)
        if file is None:
            raise OutputError(f"cache folder {self.root} lost a file while it was in use; run again")
        return file

    def place(self, kind: str, references: Mapping[str, str]) -> tuple[Path, str]:
        """The folder with a real file for every relative name, taken from where its reference leads, and the digest
        over these files.

        A file that has no place yet is moved there; one that belongs to another set is copied. The references must have
        been fetched just before.
        """
        digests = {name: self._digest(reference) for name, reference in references.items()}
        folder = self.folder(kind, digests)
        with self.locked(f"place-{folder.name}"), self.writing():
            for name, reference in sorted(references.items()):
                with self.locked(reference):
                    self._place_file(folder / name, reference)
        return folder, digest_of(digests)

    def folder(self, kind: str, digests: Mapping[str, str]) -> Path:
        """The place of a set of files, given by relative name and digest; the names count, even of a single file."""
        return self.root / kind / combined_digest(digests)

    def _digest(self, reference: str) -> str:
        with self.locked(reference):  # another run may be moving the file to its place
            return self.expect(reference).digest

    def _place_file(self, target: Path, reference: str) -> None:
        file = self.expect(reference)
        if file.path == target:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.path.parent == self.root / "parts":
            file.path.replace(target)
            self.remember(reference, CachedFile(target, file.digest))
        elif not target.is_file() or file_digest(target) != file.digest:
            copy_file(file.path, target)


def reference_of(*parts: str | None) -> str:
    """A file name that stands for these strings."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def copy_file(source: Path, target: Path) -> None:
    """Copies content only; `target` appears whole, under its name by a rename, or not at all."""
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with open(source, "rb") as reader, open(descriptor, "wb") as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
            writer.flush()
            os.fsync(writer.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text(target: Path, text: str) -> None:
    """Writes a small file that appears whole or not at all."""
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:32]}.")
    with open(descriptor, "w") as writer:
        writer.write(text)
    Path(temporary).replace(target)
