"""Settings of Prefect and MLflow for a run in this process, made before either is imported."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.home import Home


def set_defaults(home: Home) -> None:
    """Fills in what the user has not set: everything below `home`, nothing sent to anyone, results as JSON.

    Without an API of the user's own, Prefect keeps its files below `home` too.
    """
    defaults = {
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
        "GIT_PYTHON_REFRESH": "quiet",
        "MPLBACKEND": "agg",
    }
    if "PREFECT_API_URL" not in os.environ:
        defaults |= {
            "PREFECT_HOME": str(home.prefect.absolute()),
            "PREFECT_LOGGING_TO_API_ENABLED": "false",
            "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
        }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def send_logs_to(path: Path) -> None:
    """Points every logger that now writes to the terminal at the file `path`, Python's warnings included.

    To be called after the noisy packages are imported: they install their handlers then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in list(logging.root.manager.loggerDict))]
    for logger in loggers:
        for handler in list(logger.handlers):
            if _writes_to_terminal(handler):
                logger.removeHandler(handler)
                if not logger.propagate:
                    logger.addHandler(file)
    logging.getLogger().addHandler(file)
    logging.getLogger("autocast_core").setLevel(logging.INFO)
    logging.captureWarnings(True)
    warnings.simplefilter("default")


def _writes_to_terminal(handler: logging.Handler) -> bool:
    stream = getattr(handler, "stream", None) or getattr(getattr(handler, "console", None), "file", None)
    return stream in (sys.stderr, sys.stdout, sys.__stderr__, sys.__stdout__)


@contextmanager
def only_json_on_stdout() -> Iterator[None]:
    """Whatever prints meanwhile, in Python or below it, reaches stderr; the caller prints its JSON afterwards."""
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)
