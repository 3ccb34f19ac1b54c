"""Errors of Prefect's client as AutocastErrors: one line with what, where and the remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from autocast_core.errors import InputError, ServiceError
from tasks.storage.uri import without_credentials

_REFUSALS = frozenset({401, 403})


@contextmanager
def prefect_errors() -> Iterator[None]:
    """InputError where Prefect's API rejects the credentials, ServiceError where it fails or does not answer."""
    from httpx import HTTPError, HTTPStatusError

    try:
        yield
    except HTTPStatusError as error:
        status = error.response.status_code
        if status in _REFUSALS:
            raise InputError(
                f"{_server()} rejects the credentials ({status}); check PREFECT_API_AUTH_STRING, USER:PASSWORD of a "
                "self-hosted server, or PREFECT_API_KEY"
            ) from error
        raise ServiceError(f"{_server()} answers {status}; its log says why") from error
    except HTTPError as error:
        raise ServiceError(_silent(type(error).__name__)) from error
    except RuntimeError as error:
        # Prefect's message for a server that it has never reached.
        if not str(error).startswith("Failed to reach API"):
            raise
        raise ServiceError(_silent("no connection")) from error


def _silent(how: str) -> str:
    return f"{_server()} does not answer ({how}); check PREFECT_API_URL and that it runs"


def _server() -> str:
    from prefect.settings import PREFECT_API_URL

    return f"Prefect's API at {without_credentials(PREFECT_API_URL.value() or '')}"
