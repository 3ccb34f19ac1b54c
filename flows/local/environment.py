"""Settings of Prefect and MLflow for a run in this process; to be made before either is imported."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from autocast_core.errors import OutputError
from flows.local.home import Home, home
from flows.local.own_files import check_home
from tasks.json_log import formatter
from tasks.prefect_settings import ignore_settings_files, own_files_only


def settled_home() -> Home:
    """The home folder, once it is known to be this user's, with the settings of Prefect and MLflow made for it.

    To be called by a command before it imports either. OutputError where the home folder is another user's.
    """
    where = home()
    check_home(where)
    ignore_settings_files()
    set_defaults(where)
    return where


def set_defaults(home: Home) -> None:
    """Sets what the user has not set: all files below `home`, no telemetry, results as JSON.

    Without an API of the user's own, Prefect keeps its files below `home` too, in a folder made here. OutputError where
    that cannot be made.
    """
    defaults = {
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # Waits of 2, 4, ..., 64 s: bridges two minutes without its API.
        "PREFECT_CLIENT_MAX_RETRIES": "6",
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
        try:
            home.prefect.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{home.root}: cannot be written ({error.strerror}); set AUTOCAST_HOME to a writable folder"
            ) from error
    for name, value in (defaults | own_files_only()).items():
        os.environ.setdefault(name, value)
    _move_credentials()


def _move_credentials() -> None:
    """A user and password in MLflow's address move to the variables made for them: addresses reach logs and links."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or parts.username is None:
        return
    os.environ.setdefault("MLFLOW_TRACKING_USERNAME", unquote(parts.username))
    os.environ.setdefault("MLFLOW_TRACKING_PASSWORD", unquote(parts.password or ""))
    os.environ["MLFLOW_TRACKING_URI"] = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


@contextmanager
def logs_in(path: Path) -> Iterator[None]:
    """Redirects every logger that would write to the terminal to the file `path`, and Python's warnings too.

    To be entered after the noisy packages are imported, which installs their handlers. ConfigError where
    AUTOCAST_LOG_FORMAT is invalid.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(formatter(os.environ))
    root = logging.getLogger()
    own = logging.getLogger("autocast_core")
    loggers = [root, *(logging.getLogger(name) for name in list(logging.root.manager.loggerDict))]
    before = [(logger, list(logger.handlers)) for logger in loggers]
    level = own.level
    for logger, handlers in before:
        kept = [handler for handler in handlers if not _writes_to_terminal(handler)]
        redirected = len(kept) < len(handlers) and not logger.propagate
        logger.handlers = [*kept, file] if redirected or logger is root else kept
    own.setLevel(logging.INFO)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        own.setLevel(level)
        for logger, handlers in before:
            logger.handlers = handlers
        file.close()


def _writes_to_terminal(handler: logging.Handler) -> bool:
    """Whether it is a stream that is neither a file of its own nor in memory; packages wrap stderr as they like."""
    if not isinstance(handler, logging.StreamHandler) or isinstance(handler, logging.FileHandler):
        return False
    return not isinstance(handler.stream, io.StringIO)


@contextmanager
def only_json_on_stdout() -> Iterator[None]:
    """Redirects stdout to stderr, for Python and native code; the caller prints its JSON afterwards."""
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)
