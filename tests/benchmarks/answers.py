"""How soon a command answers: bad input, the first and the further runs of a small model, one through a worker."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.demo import materials
from flows.local.embedded_server import IDLE_SECONDS, stop_servers
from flows.local.home import Home
from flows.local_stack.stack_settings import environment
from tests.benchmarks.kept_servers import cpu_of_forks
from tests.benchmarks.measure import without_servers

TIMES = 5
BAD_INPUT, BY_WORKER = "answer bad input", "answer through a worker"
"""Keys of results, each the first of one function here."""
Answers = dict[str, dict[str, Any]]
AUTOCAST = (sys.executable, "-c", "from flows.cli import main; main()")
_DEPLOYED = """
import json, sys
from prefect.deployments import run_deployment
done = run_deployment("convert-model/convert-model", parameters=json.loads(sys.argv[1]), poll_interval=0.2)
assert done.state.is_completed(), done.state
print((done.end_time - done.created).total_seconds())
"""


def local_answers(folder: Path, timeout: float) -> Answers:
    """Of the demo's model in a new home folder, by what is asked: bad input, without any server; the first run, which
    starts the servers; further runs. Medians of TIMES commands, but for the first run."""
    home, state = Home(folder / "home"), machine()
    shutil.rmtree(home.root, ignore_errors=True)
    variables = {**without_servers(), "AUTOCAST_HOME": str(home.root), IDLE_SECONDS: "600"}
    used = materials()
    data = ("--calibration", str(used.calibration), "--evaluation", str(used.evaluation))

    def run(name: str, *arguments: str, status: int = 0) -> float:
        asked = ("run", str(used.model), *arguments, "--name", name, "--output", str(folder / name))
        return _seconds(asked, variables, timeout, status)

    try:
        wrong = str(used.model)
        before = _cpu_of_children()
        refused = [run("wrong", "--calibration", wrong, "--evaluation", wrong, status=2) for _ in range(TIMES)]
        cpu_refused = (_cpu_of_children() - before) / TIMES
        first = run("first", *data)
        further, cpu = [], []
        for number in range(TIMES):
            before = cpu_of_forks(home)
            further.append(run(f"further-{number}", *data))
            cpu.append(cpu_of_forks(home) - before)
    finally:
        stop_servers(home.server)
    return {
        BAD_INPUT: {**_answered(refused, state), "cpu_s": round(cpu_refused, 2)},
        "answer first run": _answered([first], state),
        "answer further run": {**_answered(further, state), "cpu_s": round(statistics.median(cpu), 2)},
    }


def worker_answers(folder: Path, timeout: float) -> Answers:
    """Of the demo's model through the deployment and the worker of `autocast up`: from the request to the result."""
    stack, used, alone, state = folder / "stack", materials(), without_servers(), machine()
    shutil.rmtree(stack, ignore_errors=True)
    try:
        _seconds(("up", str(stack)), alone, timeout)
        known = {**alone, **environment(stack)}
        data = {"calibration": str(used.calibration), "evaluation": str(used.evaluation)}
        seconds = [
            _deployed({"model": str(used.model), "spec": {**data, "name": f"deployed-{each}"}}, known, timeout)
            for each in range(TIMES)
        ]
    finally:
        _seconds(("down", str(stack)), alone, timeout)
    return {BY_WORKER: _answered(seconds, state)}


def machine() -> str:
    """The processors, and how many were wanted in the last minute by what else runs."""
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    return f"{model.partition(': ')[2] or 'processor'}, {os.cpu_count()} of it, load {os.getloadavg()[0]:.1f}"


def _answered(seconds: list[float], state: str) -> dict[str, Any]:
    return {"wall_s": round(statistics.median(seconds), 2), "runs": len(seconds), "machine": state, "status": 0}


def _seconds(arguments: Sequence[str], variables: Mapping[str, str], timeout: float, status: int = 0) -> float:
    """What the command took, which must end with `status`."""
    began = time.monotonic()
    done = subprocess.run([*AUTOCAST, *arguments], env=variables, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == status, done.stderr
    return time.monotonic() - began


def _deployed(parameters: Mapping[str, Any], variables: Mapping[str, str], timeout: float) -> float:
    """What a run of the deployment took, in the Prefect server's time: from its creation to its end."""
    command = [sys.executable, "-c", _DEPLOYED, json.dumps(parameters)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return float(done.stdout.splitlines()[-1])


def _cpu_of_children() -> float:
    """Seconds of CPU time (user and system) of the commands that ended."""
    times = os.times()
    return times.children_user + times.children_system
