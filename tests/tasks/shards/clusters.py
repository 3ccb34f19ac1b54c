"""Dask clusters of this machine, and a runner that loses a worker."""

import os
import signal
from contextlib import contextmanager

import pytest


@contextmanager
def dask_cluster(workers):
    """A cluster of so many workers of one thread each; skips where the extra is not installed."""
    distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    options = {"threads_per_worker": 1, "dashboard_address": None, "preload": ["tasks.dask_preload"]}
    with distributed.LocalCluster(n_workers=workers, **options) as cluster:
        yield cluster


class KillsOne:
    """A runner on a cluster, of which one worker is killed as soon as the first shard is back."""

    def __init__(self, runner, cluster):
        self._runner, self._pid = runner, next(worker.pid for worker in cluster.workers.values())
        self.workers, self.killed = runner.workers, False

    def map(self, function, work):
        for made in self._runner.map(function, work):
            if not self.killed:
                os.kill(self._pid, signal.SIGKILL)
                self.killed = True
            yield made

    def close(self): ...
