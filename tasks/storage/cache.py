"""The cache folder of fetched files: sets of files by digest, and the references that resolve to them.

    references/REFERENCE   JSON: digest and path of the file that a pinned object or registered version resolved to
    models/SET/…           a model's files, not links: ONNX rejects external data that are links
    data/SET/…             calibration and evaluation files; SET is the digest of the files' names and content
    parts/                 transfers in progress, and complete objects that belong to no set yet
    locks/                 one file a reference, locked while it is fetched
    users/                 one file a run, locked while it runs; see tasks.storage.cache_limit

Every file appears under its final name by a rename, and locks end with their process, so processes may share the folder
and be killed at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from autocast_core.errors import InputError, OutputError
from autocast_core.file_digest import combined_digest, file_digest
from autocast_core.model.atomic import replacing
from autocast_core.process.cache_folder import default_cache_folder
from autocast_core.process.file_lock import exclusive_lock
from autocast_core.process.full_disk import FULL
from autocast_core.text import visible
from tasks.storage.local import digest_of

_LONGEST_NAME = 200
"""In bytes; file systems allow 255, of which names of parts of a transfer need some."""


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
        """The cache in `folder`, else in the default folder; created where it is missing."""
        cache = Cache((folder or default_cache_folder()).absolute())
        with cache.writing():
            for name in ("references", "models", "data", "parts", "locks"):
                (cache.root / name).mkdir(parents=True, exist_ok=True)
        return cache

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turns an OSError in the block into an OutputError with a remedy."""
        try:
            yield
        except OSError as error:
            remedy = "free space there, or set" if error.errno in FULL else "set"
            raise OutputError(
                f"cache folder {self.root} cannot be written ({error.strerror or error}); {remedy} AUTOCAST_CACHE to"
                " another folder"
            ) from error

    @contextmanager
    def locked(self, reference: str) -> Iterator[None]:
        """Waits until no other thread or process holds the lock of `reference`."""
        with ExitStack() as stack:
            with self.writing():
                stack.enter_context(exclusive_lock(self.root / "locks" / reference))
            yield

    def part(self, name: str) -> Path:
        """Where a transfer called `name` is collected."""
        return self.root / "parts" / name

    def recall(self, reference: str) -> CachedFile | None:
        """The file that `reference` resolved to, if it still exists; its content is not checked. Counts as a use."""
        with suppress(OSError):  # whoever may only read the cache can use it, too
            os.utime(self.root / "references" / reference)
        try:
            entry = json.loads((self.root / "references" / reference).read_text())
            found = CachedFile(self.root / entry["path"], entry["digest"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if found.path.is_file() else None

    def remember(self, reference: str, file: CachedFile) -> None:
        """Records that `reference` resolves to `file`, which is in this folder."""
        entry = {"path": str(file.path.relative_to(self.root)), "digest": file.digest}
        with replacing(self.root / "references" / reference) as (target,):
            target.write(json.dumps(entry).encode())

    def expect(self, reference: str) -> CachedFile:
        """As `recall`, for a reference that was fetched just before."""
        file = self.recall(reference)
        if file is None:
            raise OutputError(f"cache folder {self.root} lost a file while it was in use; run again")
        return file

    def place(self, kind: str, references: Mapping[str, str]) -> tuple[Path, str]:
        """Creates the set of files, given as reference by relative name, and returns its folder and digest.

        A file that belongs to no set yet is moved there; one of another set is copied. The references must have been
        fetched just before.
        """
        for name in references:
            _check_name(name)
            _check_is_no_folder(name, references)
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
            _copy(file.path, target)


def _check_name(name: str) -> None:
    """InputError where an object's name cannot be that of a file."""
    parts = name.split("/")
    if "\0" in name or any(part in ("", ".", "..") or len(os.fsencode(part)) > _LONGEST_NAME for part in parts):
        raise InputError(f"object name {visible(name)!r} cannot be that of a file: copy the object to another key")


def _check_is_no_folder(name: str, names: Iterable[str]) -> None:
    """InputError where another name lies below this one: a file system has a file or a folder there, not both."""
    below = next((other for other in names if other.startswith(f"{name}/")), None)
    if below is not None:
        raise InputError(
            f"object name {visible(below)!r} lies below the name of another file, {visible(name)!r}: copy the object to"
            " another key"
        )


def reference_of(*parts: str | None) -> str:
    """A file name that stands for these strings."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _copy(source: Path, target: Path) -> None:
    """Copies content only, to the disk; `target` appears complete or not at all."""
    with replacing(target) as (file,):
        shutil.copyfile(source, file.name)
        os.fsync(file.fileno())
