"""The whole flow, `autocast run`, beside a server that is up already."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks import measure
from tests.models import BuiltModel

_START_SECONDS = 120


def run_flow(built: BuiltModel, folder: Path, timeout: float) -> dict[str, Any]:
    """The cost of a second run (the first one creates the tracking database) and its CPU seconds by stage."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    stages = folder / "stages.json"
    command: list[str | Path] = [sys.executable, "-m", "tests.benchmarks.flow_stages", stages, "run", built.path]
    command += ["--calibration", built.calibration, "--evaluation", built.evaluation, "--json"]
    with _server(folder) as url:
        environment = {
            "PREFECT_API_URL": url,
            "PREFECT_HOME": str(folder / "prefect"),
            "AUTOCAST_HOME": str(folder / "home"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        }
        for attempt in ("first", "second"):  # a name of its own makes each a conversion of its own
            asked = [*command, "--name", f"{built.name}-{attempt}", "--output", folder / attempt]
            cost = measure.run(asked, folder / f"{attempt}.log", timeout=timeout, environment=environment)
    return {**cost.as_dict(), "stages_cpu_s": json.loads(stages.read_text())}


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _await(f"http://127.0.0.1:{port}/api/health")
        yield f"http://127.0.0.1:{port}/api"
    finally:
        server.terminate()
        server.wait(30)


def _await(url: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise TimeoutError(f"the server at {url} did not start within {_START_SECONDS} s")
