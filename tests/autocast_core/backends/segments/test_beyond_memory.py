"""A decoder in external data, larger than the memory that its process may take: converted, measured and explained."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.models.large_decoder import DecoderShape, build_large_decoder, decoder_samples

SMALL = DecoderShape(layers=3, width=64, hidden=176, heads=4, vocabulary=500)
BEYOND = DecoderShape(layers=10, width=2048, hidden=5504, heads=16, vocabulary=8000)
"""2.1 GB; its largest weight is about 3% of it, as in Llama 2 7B."""
LIMIT_BYTES = 3 << 29

# In a process of its own: a limit cannot be lifted again, and the peak is that of a process.
SCRIPT = """
import json, resource, sys, threading, time
from pathlib import Path
from autocast_core.config import ConversionConfig
from autocast_core.pipeline.convert import convert_in_memory
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.stage import in_this_process, run_stages
from autocast_core.pipeline.stages.evaluate import EVALUATE, Evaluated
from autocast_core.pipeline.stages.explain import EXPLAIN
from autocast_core.plan import PrecisionPlan
from autocast_core.search.attribution import Attribution

folder, limit, segments = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
peak = 0

def watch():
    global peak
    while True:
        lines = Path("/proc/self/status").read_text().splitlines()
        resident = sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "RssFile")))
        peak = max(peak, resident * 1024)
        time.sleep(0.02)

threading.Thread(target=watch, daemon=True).start()
if limit:
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
config = ConversionConfig(segments=segments, decide="measured", repair_evaluations=0)
job = Job(folder / "model.onnx", config, folder / "calibration.npz")
made = run_stages((EXPLAIN,), in_this_process(job), convert_in_memory(job))
plan, evaluated, attribution = made[PrecisionPlan], made[Evaluated], made[Attribution]
print(json.dumps({
    "peak": peak, "plan": plan.to_json(), "origin": plan.data.origin, "skipped": evaluated.skipped,
    "unexplained": attribution.skipped, "shares": [node.share for node in attribution.nodes],
    "sqnr": evaluated.fidelity["fidelity"].worst.sqnr_db,
}))
"""


def measured(folder: Path, limit: int, segments: int | None) -> dict[str, object]:
    command = [sys.executable, "-c", SCRIPT, str(folder), str(limit), json.dumps(segments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def built(folder: Path, shape: DecoderShape) -> int:
    written = build_large_decoder(folder / "model.onnx", shape)
    np.savez(folder / "calibration.npz", **decoder_samples(shape, 4, 8))
    return written


def test_a_decoder_in_segments_has_the_plan_and_the_attribution_of_the_whole(tmp_path: Path) -> None:
    built(tmp_path, SMALL)
    whole, cut = (measured(tmp_path, 0, segments) for segments in (1, 6))
    assert cut["plan"] == whole["plan"]
    assert cut["shares"] == whole["shares"]
    assert cut["sqnr"] == pytest.approx(whole["sqnr"], rel=1e-5)


@pytest.mark.slow
def test_a_decoder_larger_than_its_limit_is_converted_evaluated_and_attributed(tmp_path: Path) -> None:
    assert built(tmp_path, BEYOND) > 1.3 * LIMIT_BYTES
    found = measured(tmp_path, LIMIT_BYTES, None)
    assert (found["origin"], found["skipped"], found["unexplained"]) == ("calibration", [], None)
    assert int(str(found["peak"])) < LIMIT_BYTES * 5 / 6
