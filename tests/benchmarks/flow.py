"""What `autocast run` adds to the conversion, evaluation and explanation of a model by the core alone."""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.local.embedded_server import IDLE_SECONDS, running_servers, stop_servers
from flows.local.home import Home
from tests.benchmarks import measure
from tests.benchmarks.answers import AUTOCAST, machine
from tests.benchmarks.flow_stages import CHILDREN
from tests.benchmarks.kept_servers import cpu_of_forks, cpu_of_server
from tests.models import BuiltModel

TIMES = 3
FIRST = "first"
_MEDIANS = ("core_cpu_s", "added_s", "server_s", "added_forked_s", "server_forked_s")


def run_flow(built: BuiltModel, folder: Path, timeout: float) -> dict[str, Any]:
    """CPU seconds of the core and of `autocast run` in turn, beside servers that are up: in a process of its own with
    the seconds of its stages, and as a fork. Medians of TIMES each; what the flow adds, without TensorRT's process, is
    the median of the differences.
    """
    state = machine()
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "core").mkdir(parents=True)
    flow = _Flow(built, folder, Home(folder / "home"), timeout)
    try:
        flow.forked(FIRST)  # starts the servers, and makes the tracking database
        measured = [_measured_once(flow, number) for number in range(TIMES)]
    finally:
        stop_servers(flow.home.server)
    typical = sorted(measured, key=lambda each: float(each["added_s"]))[TIMES // 2]
    medians = {name: round(statistics.median(each[name] for each in measured), 2) for name in _MEDIANS}
    return {**typical, **medians, "machine": state}


def _measured_once(flow: _Flow, number: int) -> dict[str, Any]:
    core = flow.core()
    alone, stages, server = flow.alone(f"alone-{number}")
    forked, server_forked = flow.forked(f"forked-{number}")
    return {
        **alone.as_dict(),
        "stages_cpu_s": stages,
        "core_cpu_s": core.cpu,
        "added_s": alone.cpu - stages[CHILDREN] - core.cpu,
        "server_s": server,
        "added_forked_s": forked - core.cpu,
        "server_forked_s": server_forked,
    }


@dataclass(frozen=True)
class _Flow:
    """One model, and the folder in which everything is made."""

    built: BuiltModel
    folder: Path
    home: Home
    timeout: float

    def core(self) -> measure.Cost:
        command: list[str | Path] = [sys.executable, "-m", "tests.benchmarks.converted_by_core", self.built.path]
        return self._run([*command, self.built.calibration, self.built.evaluation, self.folder / "core" / "model.onnx"])

    def alone(self, name: str) -> tuple[measure.Cost, dict[str, float], float]:
        """Of a process that runs the command itself, also its CPU seconds by stage, and the Prefect server's."""
        stages, before = self.folder / "stages.json", cpu_of_server(self.home)
        (server,) = running_servers(self.home.server)
        command: list[str | Path] = [sys.executable, "-m", "tests.benchmarks.flow_stages", stages, *self._asked(name)]
        cost = self._run(command, server.settings)
        return cost, json.loads(stages.read_text()), cpu_of_server(self.home) - before

    def forked(self, name: str) -> tuple[float, float]:
        """CPU seconds of a command and its fork, and the Prefect server's. Without TensorRT, whose process could not be
        told from the fork."""
        spec = self.folder / "spec.yaml"
        spec.write_text("validation: 'off'\n")
        forks, server = cpu_of_forks(self.home), cpu_of_server(self.home)
        cost = self._run([*AUTOCAST, *self._asked(name), "--spec", spec])
        forked = cpu_of_forks(self.home) - forks
        assert name == FIRST or forked > cost.cpu, "the command ran by itself: were files of the packages changed?"
        return cost.cpu + forked, cpu_of_server(self.home) - server

    def _asked(self, name: str) -> list[str | Path]:
        """A name of its own makes each a conversion of its own."""
        data: list[str | Path] = ["--calibration", self.built.calibration, "--evaluation", self.built.evaluation]
        output = ["--name", f"{self.built.name}-{name}", "--output", self.folder / name, "--json"]
        return ["run", self.built.path, *data, *output]

    def _run(self, command: list[str | Path], server: dict[str, str] | None = None) -> measure.Cost:
        environment = {
            "AUTOCAST_HOME": str(self.home.root),
            IDLE_SECONDS: "3600",
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.folder.absolute() / 'mlflow.db'}",
            **(server or {}),
        }
        cost = measure.run(command, self.folder / "log", timeout=self.timeout, environment=environment)
        assert cost.status == 0, cost.said
        return cost
