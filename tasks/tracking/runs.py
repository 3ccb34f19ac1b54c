"""A conversion's MLflow run: begun early, filled as stages end, always ended."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autocast_core.errors import ServiceError
from autocast_core.json_values import finite
from tasks.tracking.store import client_of, connect, experiment_id, shown, tracking_errors, usable

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient

_BATCH = 100
_LONGEST = 5000
_DIGEST, _NAME, _TAG = 36, 500, 500
"""MLflow's limits for a dataset's digest and name and a tag of it (mlflow.utils.validation)."""
FAILURE_TAG = "autocast.failure"
DIGEST_TAG = "autocast.sha256"
"""A dataset's whole digest: MLflow's own field holds its beginning."""
PLACE_TAG = "autocast.uri"
"""Where a run has read a dataset."""
_CUT = "\n\n… cut here: summary.md among the artifacts has the rest."


@dataclass(frozen=True)
class RunRef:
    """A run and the store it is in: its URI without the password, since this is kept in the orchestrator's results."""

    tracking_uri: str
    experiment_id: str
    run_id: str

    def client(self) -> MlflowClient:
        return client_of(usable(self.tracking_uri))


def begin_run(tracking_uri: str, name: str, params: Mapping[str, str], tags: Mapping[str, str]) -> RunRef:
    """Begins a run called `name`. ServiceError or InputError where the store cannot be used."""
    from mlflow.entities import Param

    client = connect(tracking_uri)
    experiment = experiment_id(client, tracking_uri)
    with tracking_errors(tracking_uri):
        described = {**_system_tags(), **tags}
        run = client.create_run(experiment, run_name=name, tags={k: _short(value) for k, value in described.items()})
        begun = RunRef(shown(tracking_uri), experiment, run.info.run_id)
        entries = [Param(key, _short(value)) for key, value in params.items()]
        try:
            for start in range(0, len(entries), _BATCH):
                client.log_batch(begun.run_id, params=entries[start : start + _BATCH])
        except BaseException as error:
            # Where the store does not answer now, the next run of this home ends it.
            with suppress(ServiceError):
                end_run(begun, f"not begun: {error}")
            raise
    return begun


def note(text: str) -> str:
    """Markdown as a run's description: whole lines, as many as MLflow takes, and where the rest is."""
    if len(text) <= _LONGEST:
        return text
    return text[: text.rfind("\n", 0, _LONGEST - len(_CUT))].rstrip() + _CUT


def _system_tags() -> dict[str, str]:
    """Who made the run and with what, in the tags from which MLflow's UI fills the columns User and Source.

    https://mlflow.org/docs/latest/ml/tracking/tracking-api/#system-tags
    """
    tags = {"mlflow.source.name": "autocast-flow"}
    # Prefect sets it in the process of a deployed run.
    tags["mlflow.source.type"] = "JOB" if os.environ.get("PREFECT__FLOW_RUN_ID") else "LOCAL"
    try:
        return {**tags, "mlflow.user": getpass.getuser()}
    except (KeyError, OSError):
        # A container may run as a user without a name.
        return tags


def log(run: RunRef, *, metrics: Mapping[str, float] | None = None, tags: Mapping[str, str] | None = None) -> None:
    """Adds metrics and tags to the run; a second time the same name, the later value counts."""
    from mlflow.entities import Metric, RunTag

    now = int(time.time() * 1000)
    with tracking_errors(run.tracking_uri):
        client = run.client()
        measured = [Metric(key, float(value), now, 0) for key, value in (metrics or {}).items()]
        for start in range(0, len(measured), _BATCH):
            client.log_batch(run.run_id, metrics=measured[start : start + _BATCH])
        if tags:
            client.log_batch(run.run_id, tags=[RunTag(key, _short(value)) for key, value in tags.items()])


def log_artifacts(
    run: RunRef,
    *,
    texts: Mapping[str, str],
    tables: Mapping[str, Mapping[str, list[Any]]],
    figures: Mapping[str, Figure],
    files: Mapping[str, Path],
) -> None:
    """Stores texts, tables (columns), matplotlib figures and files in the run, each under its artifact path; figures
    also where the run's page shows them, among its charts.

    A file's artifact path ends in the file's own name. What the run has under the same paths is replaced. Texts, tables
    and figures go up together: MLflow's calls for single ones ask the server two to five times each.
    """
    from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_IMAGES

    with tempfile.TemporaryDirectory(prefix="autocast-artifacts-") as folder, tracking_errors(run.tracking_uri):
        client = run.client()
        for name, text in texts.items():
            _new_file(folder, name).write_text(text, encoding="utf-8")
        for name, columns in tables.items():
            _new_file(folder, name).write_text(_table_text(columns), encoding="utf-8")
        for name, figure in figures.items():
            file = _new_file(folder, name)
            figure.savefig(file)
            _add_image(folder, file)
        client.log_artifacts(run.run_id, folder)
        if figures:
            client.set_tag(run.run_id, MLFLOW_LOGGED_IMAGES, "True")
        if tables:
            _show_as_tables(client, run.run_id, tables)
        for name, path in files.items():
            client.log_artifact(run.run_id, str(path), name.rpartition("/")[0] or None)


def _new_file(folder: str, name: str) -> Path:
    path = Path(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _table_text(columns: Mapping[str, list[Any]]) -> str:
    """The table as MLflow's `log_table` writes it: what pandas calls orient="split", without an index."""
    rows = zip(*columns.values(), strict=True)
    return json.dumps(finite({"columns": list(columns), "data": [list(row) for row in rows]}), allow_nan=False)


def _show_as_tables(client: MlflowClient, run_id: str, names: Iterable[str]) -> None:
    """Has MLflow's UI show these artifacts as tables, beside those that it shows so already."""
    from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS

    known = json.loads(client.get_run(run_id).data.tags.get(MLFLOW_LOGGED_ARTIFACTS, "[]"))
    new = [entry for name in names if (entry := {"path": name, "type": "table"}) not in known]
    client.set_tag(run_id, MLFLOW_LOGGED_ARTIFACTS, json.dumps([*known, *new]))


def _add_image(folder: str, figure: Path) -> None:
    """Puts the figure into the folder as MLflow's `log_image` names images, so that the run's page shows it among the
    charts, called like the file."""
    from mlflow.tracking.multimedia import compress_image_size
    from PIL import Image

    name = f"images/{figure.stem}+step+0+timestamp+{int(time.time() * 1000)}+{uuid.uuid4()}"
    shutil.copyfile(figure, _new_file(folder, f"{name}.png"))
    with Image.open(figure) as image:
        compress_image_size(image).save(_new_file(folder, f"{name}+compressed.webp"))


def log_dataset(run: RunRef, name: str, uri: str, digest: str, context: str) -> None:
    """Records in the run that it read what lies at `uri` (data, a model), by digest; nothing is uploaded."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    kind = uri.partition(":")[0]
    data = Dataset(
        name=name[:_NAME],
        digest=digest[:_DIGEST],
        # MLflow's own names; it knows none for a model, whose link the UI shows as text.
        source_type=kind if kind in ("s3", "models") else "local",
        source=json.dumps({"uri": uri}),
    )
    with tracking_errors(run.tracking_uri):
        # MLflow keeps one dataset of a name and digest, with the place where it was seen first; tags are the run's own.
        tags = [InputTag("mlflow.data.context", context), InputTag(DIGEST_TAG, digest)]
        tags += [InputTag(PLACE_TAG, uri)] if len(uri) <= _TAG else []
        run.client().log_inputs(run.run_id, [DatasetInput(data, tags)])


def go_on(run: RunRef) -> None:
    """Opens a run that an earlier attempt of the same flow run began and ended."""
    with tracking_errors(run.tracking_uri):
        client = run.client()
        before = client.get_run(run.run_id)
        if before.info.status != "RUNNING":
            client.update_run(run.run_id, status="RUNNING")
            if FAILURE_TAG in before.data.tags:
                client.delete_tag(run.run_id, FAILURE_TAG)


def end_run(run: RunRef, failure: str | None = None, *, is_stopped: bool = False) -> None:
    """Ends the run as FINISHED, or as FAILED with the reason in the tag ``autocast.failure``; as KILLED where something
    outside stopped it. A run that was discarded stays so, without a link to it in the output."""
    with tracking_errors(run.tracking_uri):
        client = run.client()
        if client.get_run(run.run_id).info.lifecycle_stage == "deleted":
            return
        if failure is not None:
            client.set_tag(run.run_id, FAILURE_TAG, _short(failure))
        client.set_terminated(run.run_id, "FINISHED" if failure is None else "KILLED" if is_stopped else "FAILED")


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
