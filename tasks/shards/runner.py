"""Where shards are done: one interface, whose first implementation is this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol, TypeVar

from autocast_core.errors import ConfigError

W = TypeVar("W")
R = TypeVar("R")

LOCAL = "local"
NAMES = "local, dask, dask=ADDRESS, ray or ray=ADDRESS"


class Runner(Protocol):
    """Does pieces of work. `workers` is how many at a time."""

    @property
    def workers(self) -> int: ...

    def map(self, function: Callable[[W, int | None], R], work: Sequence[W]) -> Iterator[R]:
        """What `function(piece, threads)` gives for each piece, in their order; `threads` are those that it may use
        (None: one a core). The function is importable by its name; it, the pieces and the results are pickled.

        A piece whose worker dies is done again by another. Exceptions of the function are raised; ServiceError where
        no worker is left, or a piece ended several workers.
        """
        ...

    def close(self) -> None:
        """Gives back what was opened; a cluster of somebody else's goes on."""
        ...


@dataclass(frozen=True)
class LocalRunner:
    """Does work in this process, `workers` pieces side by side."""

    workers: int = 1

    def map(self, function: Callable[[W, int | None], R], work: Sequence[W]) -> Iterator[R]:
        if self.workers == 1:
            yield from (function(piece, None) for piece in work)
            return
        with ThreadPoolExecutor(self.workers) as pool:
            yield from pool.map(lambda piece: function(piece, None), work)

    def close(self) -> None: ...


@contextmanager
def opened_runner(name: str = LOCAL) -> Iterator[Runner]:
    """The runner called `name`, as long as the context lasts.

    ConfigError for an unknown name, for an extra that is not installed, where no scheduler answers at the address, it
    has no worker, or a worker has other versions of what decides results than this process.
    """
    runner = _open(name)
    try:
        yield runner
    finally:
        runner.close()


def check_runner(name: str) -> None:
    """What can be known before a run of the runner called `name`; raises as `opened_runner`, which it is not where a
    cluster of this machine is yet to be started."""
    kind, address = check_name(name)
    if address:
        with opened_runner(name):
            return
    package = {"dask": "distributed", "ray": "ray"}.get(kind)
    if package is not None and find_spec(package) is None:
        raise _not_installed(kind)


def check_name(name: str) -> tuple[str, str]:
    """The kind of the runner called `name` and its address, which may be empty. ConfigError for an unknown name."""
    kind, given, address = name.partition("=")
    if kind not in (LOCAL, "dask", "ray") or (given and (kind == LOCAL or not address)):
        raise ConfigError(f"runner {name!r}: give {NAMES}")
    return kind, address


def _open(name: str) -> Runner:
    kind, address = check_name(name)
    if kind == LOCAL:
        return LocalRunner()
    try:
        if kind == "dask":
            from tasks.shards import dask_runner

            return dask_runner.DaskRunner(name, address)
        from tasks.shards import ray_runner

        return ray_runner.RayRunner(name, address)
    except ImportError as error:
        raise _not_installed(kind, f" ({error})") from error


def _not_installed(kind: str, why: str = "") -> ConfigError:
    return ConfigError(f"runner {kind} is not installed{why}: pip install 'autocast-flow[{kind}]'")
