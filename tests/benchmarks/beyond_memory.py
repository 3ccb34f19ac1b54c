"""A decoder larger than the memory that its process may take, converted, evaluated, attributed and written: how much it
reads from disk, its peak with mapped pages, and the time of each stage.

    python -m tests.benchmarks.beyond_memory --layers 24 --limit 6

needs Linux with control groups of version 1, and may make one: root. FOLDER must have room for the source, half of it
for the result, and the tensors between segments; all is deleted in the end.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from autocast_core.config import ConversionConfig
from autocast_core.pipeline.convert import convert_in_memory, write_converted
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.stage import in_this_process, run_stages
from autocast_core.pipeline.stages.evaluate import Evaluated
from autocast_core.pipeline.stages.explain import EXPLAIN
from autocast_core.plan import PrecisionPlan
from autocast_core.search.attribution import Attribution
from tests.models.large_decoder import DecoderShape, build_large_decoder, decoder_samples

_MEMORY = Path("/sys/fs/cgroup/memory")
_GIB = 1 << 30


def main() -> None:
    """Makes the model and runs the conversion in a control group of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=24, help="of Llama 2 7B's 32; 24 are 20.5 GB")
    parser.add_argument("--width", type=int, default=4096, help="a smaller one for a trial: hidden sizes follow")
    parser.add_argument("--limit", type=float, default=6.0, help="GiB of memory, page cache included")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--folder", type=Path, help="where the files go; default: the temporary folder")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside is not None:
        print(json.dumps(_converted(asked.inside)))
        return
    shape = replace(
        DecoderShape(), layers=asked.layers, width=asked.width, hidden=asked.width * 43 // 16, heads=asked.width // 128
    )
    with TemporaryDirectory(prefix="beyond-memory-", dir=asked.folder) as name:
        folder = Path(name)
        written = build_large_decoder(folder / "model.onnx", shape)
        np.savez(folder / "calibration.npz", **decoder_samples(shape, asked.samples, 8))
        _forget(folder / "weights.bin")
        found = json.loads(_in_control_group(folder, int(asked.limit * _GIB)).splitlines()[-1])
    print(f"source {written / 1e9:.2f} GB, limit {asked.limit} GiB")
    print(f"peak with mapped pages {found['peak'] / _GIB:.2f} GiB")
    print(f"read from disk {found['read'] / _GIB:.2f} GiB, {found['read'] / written:.2f} times the source")
    print(json.dumps(found, indent=1))


def _in_control_group(folder: Path, limit: int) -> str:
    """What the conversion of the model in `folder` prints, which may take `limit` bytes."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    own = next(path for _, kinds, path in (line.split(":", 2) for line in lines) if kinds == "memory")
    group = _MEMORY / own.strip("/") / f"beyond-memory-{os.getpid()}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(limit))
        # The shell joins the group before it becomes Python, so that all pages are counted there.
        command = [sys.executable, "-m", "tests.benchmarks.beyond_memory", "--inside", str(folder)]
        joined = ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(group), *command]
        environment = {**os.environ, "TMPDIR": str(folder)}
        return subprocess.run(joined, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout
    finally:
        group.rmdir()


def _forget(path: Path) -> None:
    """Let nothing of the file be in memory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _converted(folder: Path) -> dict[str, object]:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    peaks: dict[str, int] = {}
    reads: dict[str, int] = {}
    stage = "start"

    def watch() -> None:
        while True:
            peaks[stage] = max(peaks.get(stage, 0), _resident_bytes())
            reads[stage] = _read_bytes()
            time.sleep(0.02)

    threading.Thread(target=watch, daemon=True).start()

    def progress(report: object) -> None:
        nonlocal stage
        name = getattr(report, "stage", stage)
        if name in {"load", "sanitize", "calibrate", "decide", "apply", "verify", "evaluate", "explain", "write"}:
            stage = name

    config = ConversionConfig(decide="measured")
    job = Job(folder / "model.onnx", config, folder / "calibration.npz", progress=progress)
    made = run_stages((EXPLAIN,), in_this_process(job), convert_in_memory(job))
    result = write_converted(job, made, folder / "converted.onnx")
    stage = "end"
    plan, attribution = made[PrecisionPlan], made[Attribution]
    counts = plan.counts()
    return {
        "peak": max(peaks.values()),
        "read": _read_bytes(),
        "peaks": peaks,
        "read_until": reads,
        "seconds": dict(job.timings),
        "cpu": sum(os.times()[:2]),
        "nodes": f"{counts.low_precision} of {counts.low_precision + counts.fp32}",
        "sqnr_db": made[Evaluated].fidelity["fidelity"].worst.sqnr_db,
        "skipped": [*made[Evaluated].skipped, attribution.skipped],
        "blame": attribution.blame(),
        "bytes": result.bytes_after,
    }


def _resident_bytes() -> int:
    """Of this process, mapped pages of files included."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("RssAnon", "RssFile", "RssShmem")))


def _read_bytes() -> int:
    """What this process made the disk read: not what was found in the page cache."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes"))


if __name__ == "__main__":
    main()
