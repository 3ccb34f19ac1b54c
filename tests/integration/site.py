"""Real servers, started by infra/local, and what tests ask of them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flows.local.embedded_server import free_port
from flows.local_stack import processes, stack
from tests.real_servers import ROOT, RealServers
from tests.waiting import wait_for

DEMO = ROOT / "flows" / "demo"
DATA = "s3://models/digits/evaluation.npz"
CONVERT = "convert-model/convert-model"


@dataclass(frozen=True)
class Site(RealServers):
    """All servers of one folder. All waits are in seconds and end in a failure that says what did not come."""

    mark: str
    """Part of every registered name, so that one set of servers serves several runs of the tests."""

    def name(self, word: str) -> str:
        return f"{word}-{self.mark}"

    def uri(self, word: str, version: int = 1) -> str:
        return f"models:/{self.name(word)}/{version}"

    def worker(self, name: str, pool: str = stack.POOL, **variables: str) -> None:
        process = stack.worker(self.folder, name, pool)
        self.start(replace(process, environment={**process.environment, **variables}))

    def machine(self, name: str, **variables: str) -> None:
        """A worker that shares no folder with the others, as on a machine of its own; it is known again by its name."""
        folder = self.folder / "machines" / name
        self.worker(name, AUTOCAST_HOME=str(folder / "autocast"), PREFECT_HOME=str(folder / "prefect"), **variables)

    def dask_cluster(self, workers: int) -> str:
        """Starts a Dask scheduler and workers of one thread each, and returns the scheduler's address."""
        port = free_port()
        address = f"tcp://127.0.0.1:{port}"
        program = str(Path(sys.executable).parent / "dask")
        common = ["--host", "127.0.0.1", "--no-dashboard"]
        commands = {"dask-scheduler": [program, "scheduler", *common, "--port", str(port)]} | {
            f"dask-{number}": [program, "worker", address, *common, "--nthreads", "1", "--no-nanny"]
            for number in range(workers)
        }
        for name, command in commands.items():
            processes.start(self.folder, processes.Process(name, command, lambda: True, self.variables))
        return address

    def kill(self, name: str) -> None:
        """SIGKILL to the process and all its descendants at once: the machine is gone."""
        pid = processes.pid_of(self.folder, name)
        assert pid is not None
        for each in _descendants(pid):
            os.kill(each, signal.SIGKILL)
        processes.stop(self.folder, name)

    def kill_workers(self) -> None:
        """SIGKILL to every worker that runs, with what it runs."""
        for name in ("worker", "second"):
            if processes.is_running(self.folder, name):
                self.kill(name)

    @property
    def registry(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient()

    @property
    def s3(self) -> Any:
        import boto3

        return boto3.client("s3", region_name="us-east-1")

    def upload(self, file: Path, key: str) -> str:
        self.s3.upload_file(str(file), "models", key)
        return f"s3://models/{key}"

    def new_version(
        self, word: str, source: str = "s3://models/digits/model.onnx", run_id: str | None = None, **tags: str
    ) -> Any:
        """A version of the model `word`, made where it does not exist."""
        from mlflow.exceptions import MlflowException

        try:
            self.registry.create_registered_model(self.name(word))
        except MlflowException as error:
            assert error.error_code == "RESOURCE_ALREADY_EXISTS", error
        return self.registry.create_model_version(self.name(word), source, run_id, tags=tags)

    def asked_version(self, word: str) -> Any:
        """A version that opts in, with data to judge it on."""
        return self.new_version(
            word,
            **{
                "autocast.precision": "fp16",
                "autocast.calibration": DATA,
                "autocast.evaluation": DATA,
                "autocast.spec": '{"validation": "off"}',
            },
        )

    def converted(self, word: str, within: float = 150.0) -> Any:
        """The version with the alias candidate that `word`'s became, once its only conversion is complete."""
        wait_for(lambda: self.states(self.uri(word)) == ["Completed"], within, f"the conversion of {word}")
        return self.registry.get_model_version_by_alias(f"{self.name(word)}-fp16", "candidate")

    def outputs(self, word: str) -> list[Any]:
        """The registered versions that conversions of `word` made."""
        return list(self.registry.search_model_versions(f"name = '{self.name(word)}-fp16'"))

    def tracking_runs(self, source: str) -> list[Any]:
        return self.tracking_runs_where(f"tags.`autocast.source` = '{source}'")

    def tracking_runs_where(self, condition: str) -> list[Any]:
        """Those for which the condition holds, in MLflow's search language."""
        experiments = [experiment.experiment_id for experiment in self.registry.search_experiments()]
        return list(self.registry.search_runs(experiments, condition))

    def flow_runs(self, model: str) -> list[Any]:
        """The runs of convert-model for the model at this URI, oldest first."""
        mine = [run for run in self.runs_of("convert-model") if run.parameters.get("model") == model]
        return sorted(mine, key=lambda run: run.created)

    def runs_of(self, flow: str) -> list[Any]:
        """Every run of the flow, scheduled ones too; the server gives them by pages."""
        from prefect.client.orchestration import get_client
        from prefect.client.schemas.filters import FlowFilter, FlowFilterName
        from prefect.client.schemas.sorting import FlowRunSort

        wanted, found = FlowFilter(name=FlowFilterName(any_=[flow])), []
        with get_client(sync_client=True) as client:
            while page := client.read_flow_runs(flow_filter=wanted, sort=FlowRunSort.ID_DESC, offset=len(found)):
                found += page
        return found

    def task_states(self, flow_run: Any) -> dict[str, str]:
        """The state of each of the run's tasks, in its latest attempt, by the task's name."""
        from prefect.client.orchestration import get_client
        from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
        from prefect.client.schemas.sorting import TaskRunSort

        mine, found = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run.id])), {}
        with get_client(sync_client=True) as client:
            runs = client.read_task_runs(flow_run_filter=mine, sort=TaskRunSort.END_TIME_DESC)
        for each in reversed(runs):
            found[each.name.rpartition("-")[0]] = each.state_name
        return found

    def artifacts(self, flow_run: Any) -> dict[str, Any]:
        """What the run shows in Prefect's UI, by key."""
        from prefect.client.orchestration import get_client
        from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

        mine = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run.id]))
        with get_client(sync_client=True) as client:
            return {each.key: each.data for each in client.read_artifacts(artifact_filter=mine)}

    def events(self, name: str, resource: str) -> list[Any]:
        """The events of this name about the resource, as Prefect's API gives them."""
        from prefect.client.orchestration import get_client

        wanted = {"event": {"name": [name]}, "resource": {"id": [resource]}}
        with get_client(sync_client=True) as client:
            return list(client.request("POST", "/events/filter", json={"filter": wanted}).json()["events"])

    def states(self, model: str) -> list[str]:
        return [run.state.name for run in self.flow_runs(model)]

    def request(self, deployment: str, variables: Mapping[str, str] | None = None, **parameters: Any) -> Any:
        """A run of the deployment, in a process with these environment variables too."""
        from prefect.deployments import run_deployment

        job = {"env": dict(variables)} if variables else None
        return run_deployment(deployment, parameters=parameters, job_variables=job, timeout=0)

    def cancel(self, flow_run: Any) -> None:
        from prefect.client.orchestration import get_client
        from prefect.states import Cancelling

        with get_client(sync_client=True) as client:
            client.set_flow_run_state(flow_run.id, Cancelling())

    def ended(self, flow_run: Any, within: float = 120.0) -> Any:
        """The run's final state."""
        from prefect.client.orchestration import get_client

        with get_client(sync_client=True) as client:

            def state() -> Any:
                now = client.read_flow_run(flow_run.id).state
                return now if now.is_final() else None

            return wait_for(state, within, f"the end of {flow_run.name}")


def _descendants(pid: int) -> list[int]:
    """The process and everything it started, parents first (proc(5))."""
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            found += [int(child) for child in task.read_text(encoding="utf-8").split()]
    return found
