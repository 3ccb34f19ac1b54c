"""The whole flow, `autocast run`, beside a server that is up already."""

from __future__ import annotations

import json
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
_ENTRY = "from flows.cli import main; main()"


def run_flow(built: BuiltModel, folder: Path, timeout: float) -> dict[str, Any]:
    """The cost of a second run (the first one creates the tracking database) and its seconds by stage."""
    folder.mkdir(parents=True, exist_ok=True)
    command: list[str | Path] = [sys.executable, "-c", _ENTRY, "run", built.path, "--calibration", built.calibration]
    command += ["--evaluation", built.evaluation, "--output", folder / "out", "--json"]
    with _server(folder) as url:
        environment = {
            "PREFECT_API_URL": url,
            "PREFECT_HOME": str(folder / "prefect"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        }
        for attempt in ("first", "second"):
            log = folder / f"{attempt}.log"
            cost = measure.run(command, log, timeout=timeout, environment=environment)
    return {**cost.as_dict(), "stages_wall_s": _stages(log)}


def _stages(log: Path) -> dict[str, float]:
    """The timings in the JSON object that the command printed."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("{")]
    return dict(json.loads(lines[-1]).get("timings", {})) if lines else {}


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
