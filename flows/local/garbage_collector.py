"""How often a command's process looks for garbage: seldom, since most of what it makes lives as long as it does.

Prefect, MLflow and what they import are 650,000 objects; going through them again and again was a quarter of the CPU
time of a run. https://docs.python.org/3/library/gc.html#gc.freeze
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_ALLOCATIONS = 100_000


@contextmanager
def lasting() -> Iterator[None]:
    """What is made within it, as by imports, is never looked at for garbage.

    From then on the whole process looks for it every 100,000 allocations of containers.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(_ALLOCATIONS)
        if enabled:
            gc.enable()
