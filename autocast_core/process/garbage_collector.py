"""When Python's cycle collector runs: the one place that decides it, for the library, the commands and the flows.

Graphs, plans and imported modules are very many small objects that live as long as the process or the conversion.
Every full collection traverses all of them again and finds next to nothing.
https://docs.python.org/3/library/gc.html#gc.freeze

- `collector_paused`: around one conversion; what the library's functions use.
- `collected_after`: around each of many passes that build graphs; what a search uses.
- `keep_for_good`: around imports that stay for the rest of the process; what `autocast` and its flows use.
- `skip_final_collection`: for the process of a command, which frees its memory by ending.
- `never_collect`: for the process of one conversion, which ends with it.
"""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager

_ALLOCATIONS = 100_000
"""Container allocations between two collections of the youngest generation (Python's default: 700)."""


@contextmanager
def collector_paused() -> Iterator[None]:
    """No collection within the block; reference cycles made there are collected later.

    Measured on converting a graph of 20,000 nodes: up to half of the time of building it.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def collected_after() -> Iterator[None]:
    """No collection within the block, and at its end one of what was made there, and of nothing older.

    For a call that leaves graphs behind, which are cycles, again and again: so they do not pile up, and what lives on
    is not traversed each time. Measured on a search for BERT-base, a fifth of whose CPU time went into collections.
    """
    enabled = gc.isenabled()
    with collector_paused():
        yield
        if enabled:
            gc.collect(0)


@contextmanager
def keep_for_good() -> Iterator[None]:
    """Objects made within the block, such as imported modules, are never traversed by the collector again.

    From then on this process collects every 100,000 allocations of containers. Prefect, MLflow and what they import
    are 650,000 objects: traversing them was a quarter of the CPU time of `autocast run`.
    """
    with collector_paused():
        try:
            yield
        finally:
            gc.freeze()
            gc.set_threshold(_ALLOCATIONS)


def skip_final_collection() -> None:
    """Python's shutdown does not look for cycles among the objects that exist then; the system takes the memory."""
    atexit.register(gc.freeze)


def never_collect() -> None:
    """No collection from here to the end of this process.

    Measured on converting a graph of 20,000 nodes: where the collector is enabled again at the end, its first look at
    what the conversion left costs 0.3 s of 4.9 s.
    """
    gc.disable()
    skip_final_collection()
