"""A disk that is full, told as such wherever it is met: in temporary files, and in what libraries write.

Files that are written whole (autocast_core.model.atomic) tell it themselves, with their name and size.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from autocast_core.errors import AutocastError, OutputError, came_of
from autocast_core.text import visible

FULL = (errno.ENOSPC, errno.EDQUOT)
_REMEDY = "make room, or set TMPDIR and AUTOCAST_HOME to folders with room"


@contextmanager
def full_disk_told() -> Iterator[None]:
    """Raises OutputError in place of the OSError of a full disk, and of an exception that came of one."""
    try:
        yield
    except AutocastError:
        raise
    except Exception as error:
        cause = _full_disk(error)
        if cause is None:
            raise
        name = cause.filename2 or cause.filename
        where = visible(os.fsdecode(name)) if isinstance(name, str | bytes) else "a temporary file"
        raise OutputError(f"{where}: the disk is full ({cause.strerror}): {_REMEDY}") from error


def says_full_disk(message: str) -> OutputError | None:
    """The error of a library that puts the system's message into its own: None where that is of something else."""
    full = next((os.strerror(number) for number in FULL if os.strerror(number) in message), None)
    return None if full is None else OutputError(f"a temporary file: the disk is full ({full}): {_REMEDY}")


def _full_disk(error: BaseException) -> OSError | None:
    return next((cause for cause in came_of(error) if isinstance(cause, OSError) and cause.errno in FULL), None)
