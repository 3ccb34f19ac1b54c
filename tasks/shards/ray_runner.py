"""Shards on a Ray cluster: `ray=ADDRESS` is a cluster's (`ray=auto`: the one that this machine belongs to), `ray` alone
one of this machine for this run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import ray

from autocast_core.errors import ConfigError, ServiceError
from autocast_core.text import one_line
from tasks.shards.worker_versions import check_versions, version_reader

W = TypeVar("W")
R = TypeVar("R")

_RETRIES = 3
"""Workers that a shard may end before it is given up, as Dask's default."""


class RayRunner:
    """Does work in the processes of a Ray cluster, one core each; see Runner."""

    def __init__(self, name: str, address: str) -> None:
        self._name = name
        try:
            ray.init(
                address=address or "local", log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False
            )
        except Exception as error:  # Ray has many kinds, among them Exception itself
            raise ConfigError(
                f"runner {name}: no Ray cluster answers there ({one_line(error, 120)}); start one with `ray start"
                " --head`, or correct the address"
            ) from error
        try:
            found = ray.get(ray.remote(version_reader()).remote())
            check_versions(name, {"of the cluster": found})
        except ray.exceptions.RayError as error:
            self.close()
            raise ConfigError(
                f"runner {name}: its workers cannot run this process's code ({one_line(error, 120)}); install the same"
                " versions of Python, ray and AutoCast Flow on every machine"
            ) from error
        except BaseException:
            self.close()
            raise

    @property
    def workers(self) -> int:
        return max(1, int(ray.cluster_resources().get("CPU", 1)))

    def map(self, function: Callable[[W, int | None], R], work: Sequence[W]) -> Iterator[R]:
        remote = ray.remote(num_cpus=1, max_retries=_RETRIES)(_on_one_core)
        pending = [remote.remote(function, piece) for piece in work]
        for reference in pending:
            yield self._result(reference)

    def close(self) -> None:
        ray.shutdown()

    def _result(self, reference: Any) -> Any:
        try:
            return ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except ray.exceptions.RayError as error:
            raise ServiceError(
                f"runner {self._name}: a shard ended {_RETRIES + 1} workers one after the other, or the cluster is gone"
                f" ({one_line(error, 120)}); give workers more memory, and see `ray status`"
            ) from error


def _on_one_core(function: Callable[[Any, int | None], Any], piece: Any) -> Any:
    """In a process of the cluster: the function, with one thread."""
    return function(piece, 1)
