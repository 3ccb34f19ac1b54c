"""Conversions that the registry already holds, and runs whose conversion is over."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.tracking.artifacts import run_file
from tasks.tracking.runs import FAILURE_TAG, RunRef
from tasks.tracking.store import connect, tracking_errors

RESULT_FILE = "result.json"
IDENTITY_TAG = "autocast.identity"
FLOW_RUN_TAG = "autocast.flow_run"
REQUEST_TAG = "autocast.request"
"""Of a run: the digest of what was asked, by which a request that was changed is told from one that was tried."""


def version_of(run: RunRef, name: str, identity: str) -> Any | None:
    """The newest registered version of `name` with this identity, as MLflow gives it; None: there is none."""
    with tracking_errors(run.tracking_uri):
        found = run.client().search_model_versions(f"tags.`{IDENTITY_TAG}` = '{identity}'")
    return max((one for one in found if one.name == name), key=lambda one: int(one.version), default=None)


@dataclass(frozen=True)
class EarlierConversion:
    """A registered version, models:/NAME/VERSION, and the result that the conversion which made it kept."""

    version: str
    result: Mapping[str, Any]


def earlier_conversion(run: RunRef, name: str, identity: str) -> EarlierConversion | None:
    """The conversion of this identity registered as `name`; None: there is none, or it is incomplete."""
    version = version_of(run, name, identity)
    if version is None or not version.run_id:
        return None
    with tracking_errors(run.tracking_uri), tempfile.TemporaryDirectory(prefix="autocast-result-") as folder:
        client = run.client()
        if RESULT_FILE not in {artifact.path for artifact in client.list_artifacts(version.run_id)}:
            return None
        path = run_file(client, version.run_id, RESULT_FILE, Path(folder))
        result = dict(json.loads(path.read_text(encoding="utf-8")))
    return EarlierConversion(f"models:/{version.name}/{version.version}", result)


def keep_result(run: RunRef, result: Mapping[str, Any]) -> None:
    """Stores the result of the conversion in its run, which marks it as complete."""
    with tracking_errors(run.tracking_uri):
        run.client().log_text(run.run_id, json.dumps(result), RESULT_FILE)


def discard(run: RunRef) -> None:
    """Deletes a run in which nothing was done; MLflow can restore it."""
    with tracking_errors(run.tracking_uri):
        client = run.client()
        client.update_run(run.run_id, status="FINISHED")
        client.delete_run(run.run_id)


def end_abandoned(tracking_uri: str, flow_run_id: str, reason: str) -> tuple[str, ...]:
    """Ends, as KILLED, the runs that a dead flow run left RUNNING, and returns their ids."""
    client = connect(tracking_uri)
    with tracking_errors(tracking_uri):
        experiments = [one.experiment_id for one in client.search_experiments()]
        left = client.search_runs(
            experiments, f"attributes.status = 'RUNNING' and tags.`{FLOW_RUN_TAG}` = '{flow_run_id}'"
        )
        for run in left:
            client.set_tag(run.info.run_id, FAILURE_TAG, reason)
            client.set_terminated(run.info.run_id, "KILLED")
    return tuple(run.info.run_id for run in left)
