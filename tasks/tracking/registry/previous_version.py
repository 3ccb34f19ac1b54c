"""The version that was registered before under a name, with what its run holds."""

from __future__ import annotations

import json
import logging
import tempfile
from pathlib import Path

from autocast_core.errors import AutocastError
from autocast_core.plan import PrecisionPlan
from autocast_core.report.content import PreviousVersion
from tasks.tracking.artifacts import run_file
from tasks.tracking.registry.conversions import RESULT_FILE
from tasks.tracking.runs import RunRef
from tasks.tracking.store import tracking_errors

LOG = logging.getLogger(__name__)
_LOOKED_AT = 20
_CONVERSION_TAG = "autocast.output_sha256"


def previous_version(run: RunRef, name: str) -> PreviousVersion | None:
    """The newest version of `name` that another conversion registered; None where there is none, or where what its run
    held cannot be read, which a warning says: a report without this part is better than no conversion."""
    from mlflow.exceptions import MlflowException

    quote = '"' if "'" in name else "'"
    if quote in name:
        return None
    try:
        with tracking_errors(run.tracking_uri):
            client = run.client()
            versions = client.search_model_versions(
                f"name={quote}{name}{quote}", max_results=_LOOKED_AT, order_by=["version_number DESC"]
            )
            for version in versions:
                if version.run_id and version.run_id != run.run_id and _CONVERSION_TAG in version.tags:
                    return _read(run, f"models:/{name}/{version.version}", version.run_id)
    except (AutocastError, MlflowException, OSError, ValueError, KeyError, TypeError) as error:
        LOG.warning("%s is not compared with the version before: %s", name, error)
    return None


def _read(run: RunRef, version: str, run_id: str) -> PreviousVersion:
    client = run.client()
    with tempfile.TemporaryDirectory(prefix="autocast-previous-") as folder:
        plan, result = (
            run_file(client, run_id, path, Path(folder)).read_text(encoding="utf-8")
            for path in ("plan.json", RESULT_FILE)
        )
    gates = {str(gate["expression"]): gate["value"] for gate in json.loads(result)["gates"]}
    return PreviousVersion(version, client.get_run(run_id).data.metrics, gates, PrecisionPlan.from_json(plan))
