"""Shards on a Dask cluster: `dask=ADDRESS` is a scheduler's, `dask` alone a cluster of this machine for this run."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from distributed import Client, KilledWorker, LocalCluster, get_worker, wait
from distributed.client import FutureCancelledError, FuturesCancelledError
from distributed.comm import CommClosedError
from distributed.scheduler import NoValidWorkerError

from autocast_core.errors import ConfigError, ServiceError
from autocast_core.text import one_line
from tasks.shards.worker_versions import check_versions, version_reader

W = TypeVar("W")
R = TypeVar("R")

_CONNECT_SECONDS = 10
_ALONE_SECONDS = 60.0
"""How long a scheduler may be without a worker until the work is given up."""
_ASK_SECONDS = 5.0
_LOST = (CommClosedError, FutureCancelledError, FuturesCancelledError, NoValidWorkerError)


class DaskRunner:
    """Does work on the workers of a Dask cluster; see Runner. A shard is lost with its worker alone, and then done by
    another one; one that ends several workers (distributed.scheduler.allowed-failures) is a ServiceError."""

    def __init__(self, name: str, address: str) -> None:
        self._name = name
        self._cluster: Any = None
        # Of a lost worker this process hears by its results.
        logging.getLogger("distributed").setLevel(logging.ERROR)
        if not address:
            # One shard a process and thread; `preload`: see the module.
            self._cluster = LocalCluster(
                threads_per_worker=1, dashboard_address=None, preload=["tasks.dask_preload"], silence_logs=logging.ERROR
            )
            address = self._cluster.scheduler_address
        self._client = self._connected(address)
        try:
            self._check()
        except BaseException:
            self.close()
            raise

    @property
    def workers(self) -> int:
        return max(1, sum(map(int, self._client.nthreads().values())))

    def map(self, function: Callable[[W, int | None], R], work: Sequence[W]) -> Iterator[R]:
        futures = self._client.map(_with_threads, [function] * len(work), work, pure=False)
        try:
            for future in futures:
                yield self._result(future)
                future.release()
        finally:
            with suppress(*_LOST, OSError, TimeoutError):
                self._client.cancel([future for future in futures if not future.done()])

    def close(self) -> None:
        with suppress(OSError, TimeoutError):
            self._client.close(timeout=_CONNECT_SECONDS)
        if self._cluster is not None:
            self._cluster.close()

    def _connected(self, address: str) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # other versions are told by `check_versions`
                return Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
        except (OSError, TimeoutError, ValueError, ImportError) as error:
            if self._cluster is not None:
                self._cluster.close()
            raise ConfigError(
                f"runner {self._name}: no Dask scheduler answers there ({one_line(error, 120)}); start one with `dask"
                " scheduler`, or correct the address"
            ) from error

    def _check(self) -> None:
        """ConfigError where there is no worker, or one has other versions."""
        try:
            self._client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
        except TimeoutError as error:
            raise ConfigError(
                f"runner {self._name}: its scheduler has no worker: start some, each with `dask worker ADDRESS"
                " --nthreads 1 --preload tasks.dask_preload`"
            ) from error
        try:
            found = self._client.run(version_reader())
        except Exception as error:  # whatever another Python makes of this one's code
            raise ConfigError(
                f"runner {self._name}: its workers cannot run this process's code ({one_line(error, 120)}); install the"
                " same versions of Python, distributed and AutoCast Flow on every worker"
            ) from error
        check_versions(self._name, found)

    def _is_done(self, future: Any) -> bool:
        """Whether it is within some seconds."""
        try:
            with self._client.as_current():
                wait([future], timeout=_ASK_SECONDS)
        except TimeoutError:
            return False
        return True

    def _result(self, future: Any) -> Any:
        alone_since: float | None = None
        while True:
            try:
                if self._is_done(future):
                    return future.result()
            except KilledWorker as error:
                raise ServiceError(
                    f"runner {self._name}: a shard ended {error.allowed_failures + 1} workers one after the other, the"
                    f" last at {getattr(error.last_worker, 'address', '?')}: give workers more memory; their logs say"
                    " more"
                ) from error
            except _LOST as error:
                raise ServiceError(
                    f"runner {self._name}: its scheduler is gone ({one_line(error, 120)}); start it and run again"
                ) from error
            if self._client.nthreads():
                alone_since = None
            elif alone_since is None:
                alone_since = time.monotonic()
            elif time.monotonic() - alone_since > _ALONE_SECONDS:
                raise ServiceError(f"runner {self._name}: its last worker is gone: start workers, and run again")


def _with_threads(function: Callable[[Any, int | None], Any], piece: Any) -> Any:
    """On a worker: the function, with the threads that the worker computes with."""
    return function(piece, get_worker().state.nthreads)
