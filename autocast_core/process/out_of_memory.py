"""Memory that ran out, told as such wherever it is met: in Python, in numpy, and in native libraries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from autocast_core.errors import AutocastError, BackendError, InputError, came_of

_NATIVE = ("bad_alloc", "bad allocation", "Failed to allocate memory", "PosixThread")
"""How messages of the C++ library and of ONNX Runtime say it, the last of a thread that gets no stack."""


@contextmanager
def out_of_memory_told() -> Iterator[None]:
    """Raises InputError in place of a failed allocation, and of an exception that came of one."""
    try:
        yield
    except Exception as error:
        told = isinstance(error, AutocastError) and not isinstance(error, BackendError)
        if told or not is_out_of_memory(error):
            raise
        raise InputError(
            "memory ran out: give smaller batches (--batch_size) or more segments (--segments), or allow this process"
            " more memory"
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed. Native libraries say so in the message of their own exceptions; the message of any
    other exception may contain the same text as a name from a file."""
    for cause in came_of(error):
        native = isinstance(cause, RuntimeError) or type(cause).__module__.startswith("onnxruntime")
        if isinstance(cause, MemoryError) or (native and any(text in str(cause) for text in _NATIVE)):
            return True
    return False
