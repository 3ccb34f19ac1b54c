"""Pages of MLflow's UI: where they are.

MLflow opens in its view of GenAI, in which runs and the registry are out of sight; the parameter of a link opens the
view "Model training". No tag of an experiment does.
"""

from __future__ import annotations

from urllib.parse import quote

from tasks.tracking.runs import RunRef

_VIEW = "workflowType=machine_learning"


def run_path(run: RunRef, tab: str = "") -> str:
    """The address of the run's page within MLflow's UI, or of a tab of it, such as ``artifacts/report.html``."""
    below = f"/{tab}" if tab else ""
    return f"#/experiments/{run.experiment_id}/runs/{run.run_id}{below}?{_VIEW}"


def model_path(name: str, version: str = "") -> str:
    """The address of a registered model's page within MLflow's UI, or of a version's."""
    below = f"/versions/{quote(version, safe='')}" if version else ""
    return f"#/models/{quote(name, safe='')}{below}?{_VIEW}"


def page(tracking_uri: str, path: str) -> str | None:
    """The whole address of a page; None where the store is a database and has no pages."""
    if not tracking_uri.startswith(("http://", "https://")):
        return None
    return f"{tracking_uri.rstrip('/')}/{path}"


def version_page(tracking_uri: str, registered: str) -> str | None:
    """The page of the registered version models:/NAME/VERSION; None where the store has no pages."""
    name, _, version = registered.removeprefix("models:/").rpartition("/")
    return page(tracking_uri, model_path(name, version))


def model_page(tracking_uri: str, name: str) -> str | None:
    """The page of a registered model; None where the store has no pages."""
    return page(tracking_uri, model_path(name))
