"""The tracking server or database: its client, its experiment, and its errors as AutocastErrors."""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from autocast_core.errors import AutocastError, ConfigError, InputError, ServiceError, came_of
from autocast_core.process.file_lock import exclusive_lock
from autocast_core.process.full_disk import full_disk_told
from autocast_core.text import one_line
from tasks.tracking.descriptions import EXPERIMENT_TAGS

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOG = logging.getLogger(__name__)
EXPERIMENT = "autocast"
_PAGE = 200
_TRIES = 6
_REFUSALS = frozenset({400, 401, 403, 404, 409})


def connect(tracking_uri: str) -> MlflowClient:
    """A client of the store at `tracking_uri`; a database is created or migrated first.

    The registry is MLFLOW_REGISTRY_URI where that is set, else the same store.
    """
    with tracking_errors(tracking_uri):
        import mlflow

        database = sqlite_file(tracking_uri)
        if database is not None:
            database.parent.mkdir(parents=True, exist_ok=True)
        with _migration_lock(database):
            client = client_of(tracking_uri)
            # A registry in a database looks logged models up in the process's own tracking store, not in its client's.
            mlflow.set_tracking_uri(tracking_uri)
            client.search_experiments(max_results=1)
        return client


@contextmanager
def _migration_lock(database: Path | None) -> Iterator[None]:
    """Keeps other processes from creating or migrating the database: MLflow's migrations must not run concurrently."""
    with ExitStack() as stack:
        # Where no file can be created no database can either, and MLflow reports it.
        with suppress(OSError):
            if database is not None:
                stack.enter_context(exclusive_lock(database.with_name(f"{database.name}.lock")))
        yield


def client_of(tracking_uri: str) -> MlflowClient:
    """A client of the store at `tracking_uri`, which is known to answer."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri, os.environ.get("MLFLOW_REGISTRY_URI") or tracking_uri)


def existing_store(tracking_uri: str) -> MlflowClient:
    """A client of a store that is there. InputError for a database file that is not: MLflow would make an empty one."""
    database = sqlite_file(tracking_uri)
    if database is not None and not database.is_file():
        raise InputError(f"there is no tracking database at {database}: set MLFLOW_TRACKING_URI, or run a conversion")
    with tracking_errors(tracking_uri):
        import mlflow

        # A registry in a database looks logged models up in the process's own tracking store, not in its client's.
        mlflow.set_tracking_uri(tracking_uri)
        return client_of(tracking_uri)


def experiment_id(client: MlflowClient, tracking_uri: str) -> str:
    """The id of experiment MLFLOW_EXPERIMENT_NAME (else ``autocast``), created where it does not exist, and described
    where nobody has described it.

    A sqlite store has its artifacts in ``mlartifacts`` beside the database.
    """
    from mlflow.exceptions import MlflowException

    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    with tracking_errors(tracking_uri):
        found = client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(client.create_experiment(name, artifact_location(tracking_uri, name), dict(EXPERIMENT_TAGS)))
            except MlflowException:
                # Another process may have created it in between.
                found = client.get_experiment_by_name(name)
                if found is None:
                    raise
    if found.lifecycle_stage != "active":
        raise ConfigError(
            f"experiment {name!r} at {shown(tracking_uri)} is deleted: restore it, or set MLFLOW_EXPERIMENT_NAME"
        )
    for tag in EXPERIMENT_TAGS.keys() - found.tags.keys():
        describe = partial(client.set_experiment_tag, found.experiment_id, tag, EXPERIMENT_TAGS[tag])
        write_if_allowed(f"experiment {name!r}", describe)
    return str(found.experiment_id)


def artifact_location(tracking_uri: str, experiment: str) -> str | None:
    """Where a new experiment keeps its artifacts; None leaves it to the server."""
    database = sqlite_file(tracking_uri)
    if database is None:
        return None
    folder = experiment.replace("/", "_").replace("\\", "_").strip(".") or EXPERIMENT
    return (database.parent.absolute() / "mlartifacts" / folder).as_uri()


def sqlite_file(tracking_uri: str) -> Path | None:
    """The database file of a ``sqlite:///PATH`` URI; None for any other store, and for one in memory."""
    parts = urlsplit(tracking_uri)
    path = unquote(parts.path).removeprefix("/")
    if parts.scheme.partition("+")[0] != "sqlite" or path in ("", ":memory:"):
        return None
    return Path(path)


@contextmanager
def tracking_errors(tracking_uri: str) -> Iterator[None]:
    """Turns MLflow's exceptions into InputError (the request was refused) or ServiceError (a retry may succeed).

    OutputError where a disk of this machine is full.
    """
    try:
        with full_disk_told():
            yield
    except AutocastError:
        raise
    except Exception as error:
        text = _without_password(str(error), tracking_uri)
        if _is_refusal(error):
            raise InputError(
                f"tracking server {shown(tracking_uri)} refuses: {text}; check MLFLOW_TRACKING_URI and credentials"
            ) from error
        if (reason := _unanswered(error)) is not None:
            raise ServiceError(
                f"tracking server {shown(tracking_uri)} does not answer ({reason}); check MLFLOW_TRACKING_URI and that"
                " it runs"
            ) from error
        if type(error).__module__.partition(".")[0] in ("mlflow", "sqlalchemy", "requests", "urllib3", "botocore"):
            raise ServiceError(
                f"tracking server {shown(tracking_uri)}: {text}; check MLFLOW_TRACKING_URI and that it runs"
            ) from error
        raise


def _unanswered(error: Exception) -> str | None:
    """Why no server answered the request that failed so; None where one did. MLflow's message repeats the request."""
    from requests import ConnectionError as NoConnectionError
    from requests import Timeout

    causes = tuple(came_of(error))
    if not any(isinstance(each, NoConnectionError | Timeout) for each in causes):
        return None
    # The first of all knows best: the system's word for it.
    first = causes[-1]
    return (first.strerror if isinstance(first, OSError) else None) or type(first).__name__


def _is_refusal(error: Exception) -> bool:
    """Whether a server or store answered with this MlflowException, as opposed to not being reached."""
    from mlflow.exceptions import MlflowException

    if not isinstance(error, MlflowException) or is_conflict(error):
        return False
    return error.get_http_status_code() in _REFUSALS  # type: ignore[no-untyped-call]


def is_conflict(error: Exception) -> bool:
    """Whether a concurrent change kept the store's database from this one, which may then succeed. MLflow passes the
    database's own message on, as a bad request: sqlite's, PostgreSQL's and MySQL's in this order."""
    text = str(error)
    return any(sign in text for sign in ("UNIQUE constraint", "violates unique constraint", "Duplicate entry"))


def all_found(search: Callable[..., Any], query: str) -> Iterator[Any]:
    """All results of one of the searches of MLflow's client, page by page."""
    token = None
    while True:
        page = search(query, max_results=_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def shown(tracking_uri: str) -> str:
    """The URI without a password."""
    parts = urlsplit(tracking_uri)
    return tracking_uri.replace(f":{parts.password}@", ":***@") if parts.password else tracking_uri


def usable(tracking_uri: str) -> str:
    """The inverse of `shown`: with the password of MLFLOW_TRACKING_URI where that is the same store."""
    given = os.environ.get("MLFLOW_TRACKING_URI") or tracking_uri
    return given if shown(given) == tracking_uri else tracking_uri


def write_if_allowed(what: str, write: Callable[[], object]) -> None:
    """As `retry_conflicts` for what is said of `what` to people: where MLflow refuses it, that is logged."""
    from mlflow.exceptions import MlflowException

    try:
        retry_conflicts(write)
    except MlflowException as error:
        LOG.warning("%s cannot be described: %s", what, one_line(error, 200))


def _without_password(text: str, tracking_uri: str) -> str:
    """A message on one line, short, without the URI's password, quoted or not."""
    password = urlsplit(tracking_uri).password
    for secret in filter(None, (password, unquote(password or ""))):
        text = text.replace(secret, "***")
    return one_line(text, 300)


def retry_conflicts(write: Callable[[], object]) -> None:
    """Calls `write`, again where another process writes the same at this moment: MLflow's store inserts what it did not
    find, and the database refuses the second. MlflowException where it is refused to the end, or for another reason."""
    from mlflow.exceptions import MlflowException

    for remaining in reversed(range(_TRIES)):
        try:
            write()
            return
        except MlflowException as error:
            if not remaining or not is_conflict(error):
                raise
        time.sleep(random.uniform(0.05, 0.2))
