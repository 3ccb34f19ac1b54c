"""What a second Dask worker brings: `python -m tests.benchmarks.shards [--layers N] [--batches N]`.

Calibrates BERT-base with one worker and with two, of one thread each, twice in turn, and prints for each the seconds on
the clock, the workers' CPU seconds and the digest of the statistics.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from distributed import LocalCluster

from autocast_core.config import ConversionConfig
from autocast_core.data import input_specs
from autocast_core.model import load_model
from autocast_core.pipeline.saved import JobRequest, perform
from tasks.shards.calibration import calibrate_sharded
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
            print(_measured(model, data, workers, folder / f"run{run}"), flush=True)


def _data(model: Path, folder: Path, batches: int) -> Path:
    """A file a batch."""
    folder.mkdir()
    numbers = np.random.default_rng(0)
    specs = input_specs(load_model(model))
    for batch in range(batches):
        shapes = {
            spec.name: (1, *(dim if isinstance(dim, int) else _TOKENS for dim in spec.dims[1:])) for spec in specs
        }
        arrays = {spec.name: numbers.integers(0, 2, shapes[spec.name]).astype(spec.numpy) for spec in specs}
        np.savez(folder / f"{batch:06}.npz", **arrays)
    return folder


def _shape(dims: Sequence[object]) -> tuple[int, ...]:
    return (1, *(dim if isinstance(dim, int) else _TOKENS for dim in dims[1:]))


def _measured(model: Path, data: Path, workers: int, folder: Path) -> str:
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
        before, began = [_cpu_seconds(each) for each in processes], time.monotonic()
        made = calibrate_sharded(request, sanitized, inputs, runner)
        seconds = time.monotonic() - began
        used = [_cpu_seconds(each) - start for each, start in zip(processes, before, strict=True)]
    assert made is not None, "the data is in files"
    digest = hashlib.sha256(made.path.read_bytes()).hexdigest()[:12]
    cpu = ", ".join(f"{each:.1f}" for each in used)
    return f"{workers} workers: {seconds:.1f} s, CPU s {cpu}, statistics {digest}, load {os.getloadavg()[0]:.1f}"


def _cpu_seconds(process: int) -> float:
    """User and system time (proc_pid_stat(5), fields 14 and 15)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
