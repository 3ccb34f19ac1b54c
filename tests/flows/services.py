"""A Prefect server and a tracking store, as settings of this process."""

import os
from contextlib import contextmanager

from flows.local.embedded_server import embedded_server
from flows.local.environment import set_defaults
from flows.local.home import Home
from tests.settings import forgotten_settings


@contextmanager
def embedded_services(folder):
    """Prefect's embedded server and a sqlite store in the folder; yields the store's address."""
    with forgotten_settings():
        set_defaults(Home(folder / "home"))
        with embedded_server(folder / "server", idle_seconds=0) as server:
            server.wait()
            uri = f"sqlite:///{folder / 'mlflow.db'}"
            os.environ |= server.settings
            with _used(server.api_url, uri, folder, server.password):
                yield uri


@contextmanager
def services_at(variables, folder):
    """The servers that these variables name; results lie in the folder. Yields the tracking server's address."""
    with forgotten_settings():
        os.environ |= {key: value for key, value in variables.items() if not key.startswith(("AWS_", "AUTOCAST_"))}
        set_defaults(Home(folder / "home"))
        uri = variables["MLFLOW_TRACKING_URI"]
        with _used(variables["PREFECT_API_URL"], uri, folder):
            yield uri


@contextmanager
def _used(api_url, tracking_uri, folder, password=None):
    from prefect.settings import (
        PREFECT_API_AUTH_STRING,
        PREFECT_API_URL,
        PREFECT_LOCAL_STORAGE_PATH,
        temporary_settings,
    )

    os.environ |= {"PREFECT_API_URL": api_url, "MLFLOW_TRACKING_URI": tracking_uri}
    # Prefect read its settings when it was imported.
    known = {PREFECT_API_URL: api_url, PREFECT_LOCAL_STORAGE_PATH: folder / "results"}
    if password is not None:
        known[PREFECT_API_AUTH_STRING] = password
    with temporary_settings(known):
        yield
