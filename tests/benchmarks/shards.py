"""What a second Dask worker brings: `python -m tests.benchmarks.shards [--layers N] [--batches N]`.

Calibrates and evaluates BERT-base with one worker and with two, of one thread each, twice in turn, and prints for each
the seconds on the clock, the workers' CPU seconds and the digest of the statistics or of the metrics.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from distributed import LocalCluster

from autocast_core.config import ConversionConfig
from autocast_core.data import input_specs
from autocast_core.model import load_model
from autocast_core.pipeline.saved import JobRequest, perform
from tasks.shards.calibration import calibrate_sharded
from tasks.shards.evaluation import evaluate_sharded
from tasks.shards.runner import opened_runner
from tasks.shards.shard_inputs import ShardInputs
from tasks.storage.data import fetch_data
from tasks.storage.local import model_ref
from tests.models import build

_TOKENS = 64


def main() -> None:
    """Measure, and print a line for each run."""
    top = argparse.ArgumentParser(prog="python -m tests.benchmarks.shards", description=__doc__)
    top.add_argument("--layers", type=int, default=2, help="of BERT-base (%(default)s)")
    top.add_argument("--batches", type=int, default=256, help="one sample of 64 tokens each (%(default)s)")
    arguments = top.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = build("bert_base", folder / "model", layers=arguments.layers).path
        data = _data(model, folder / "data", arguments.batches)
        for run, workers in enumerate((1, 2, 1, 2)):
            for line in _measured(model, data, workers, folder / f"run{run}"):
                print(line, flush=True)


def _data(model: Path, folder: Path, batches: int) -> Path:
    """A file a batch."""
    folder.mkdir()
    numbers = np.random.default_rng(0)
    specs = input_specs(load_model(model))
    for batch in range(batches):
        arrays: dict[str, Any] = {}
        for spec in specs:
            shape = (1, *(dim if isinstance(dim, int) else _TOKENS for dim in (spec.dims or ())[1:]))
            arrays[spec.name] = numbers.integers(0, 2, shape).astype(spec.numpy)
        np.savez(folder / f"{batch:06}.npz", **arrays)
    return folder


def _measured(model: Path, data: Path, workers: int, folder: Path) -> Iterator[str]:
    source, config = model_ref(model), ConversionConfig()
    folder.mkdir()
    request = JobRequest(source, config, folder, calibration=data)
    sanitized = perform("sanitize", request, (source,))
    inputs = ShardInputs(str(source.path), source.digest, str(data), fetch_data(str(data)).digest, config)
    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=None, preload=["tasks.dask_preload"]
        ) as cluster,
        opened_runner(f"dask={cluster.scheduler_address}") as runner,
    ):
        processes = [worker.pid for worker in cluster.workers.values()]
        with _timed(f"{workers} workers calibrate", processes) as lines:
            statistics = calibrate_sharded(request, sanitized, inputs, runner)
        assert statistics is not None, "the data is in files"
        yield f"{lines[0]}, statistics {_digest(statistics.path.read_bytes())}"
        converted = perform("apply", request, (sanitized, perform("decide", request, (sanitized, statistics))))
        with _timed(f"{workers} workers evaluate", processes) as lines:
            evaluated = evaluate_sharded(request, (sanitized, converted), inputs, runner)
        assert evaluated is not None, "there are no labels"
        yield f"{lines[0]}, metrics {_digest(json.dumps(evaluated.metrics).encode())}"


@contextmanager
def _timed(what: str, processes: Sequence[int]) -> Iterator[list[str]]:
    """Receives, once the block has ended, a line with its seconds and those of each process's CPU time."""
    lines: list[str] = []
    before, began = [_cpu_seconds(each) for each in processes], time.monotonic()
    yield lines
    seconds = time.monotonic() - began
    used = ", ".join(f"{_cpu_seconds(each) - start:.1f}" for each, start in zip(processes, before, strict=True))
    lines.append(f"{what}: {seconds:.1f} s, CPU s {used}, load {os.getloadavg()[0]:.1f}")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _cpu_seconds(process: int) -> float:
    """User and system time (proc_pid_stat(5), fields 14 and 15)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
