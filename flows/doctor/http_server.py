"""A server as its REST interface shows it, asked without its client, which takes seconds to import."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autocast_core.errors import ConfigError, ServiceError
from autocast_core.text import one_line
from tasks.storage.uri import without_credentials

REFUSALS = frozenset({401, 403})
_LONGEST_BODY = 1 << 18


@dataclass(frozen=True)
class HttpAnswer:
    """Status and body of a response; a body is cut at 256 KiB."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON; None where it is not JSON, or null."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


@dataclass(frozen=True)
class HttpServer:
    """Where a server is and who asks it. `timeout` in seconds, of each step of a request."""

    url: str = field(repr=False)
    timeout: float
    auth: tuple[str, str] | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    certificates: str | None = None
    """A file of certificate authorities."""
    insecure: bool = False

    def __str__(self) -> str:
        return without_credentials(self.url).rstrip("/")

    def ask(self, method: str, path: str, **content: Any) -> HttpAnswer:
        """The server's answer to a request for `path` below its address; redirects are not followed.

        ServiceError where it does not answer, ConfigError where its address or credentials cannot be sent.
        """
        import httpx

        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            with (
                httpx.Client(timeout=self.timeout, auth=self.auth, headers=headers, verify=self._verify()) as client,
                client.stream(method, f"{self.url.rstrip('/')}/{path}".rstrip("/"), **content) as response,
            ):
                body = b""
                for part in response.iter_bytes():
                    body += part
                    if len(body) > _LONGEST_BODY:
                        break
                return HttpAnswer(response.status_code, body[:_LONGEST_BODY])
        except httpx.HTTPError as error:
            reason = f"{type(error).__name__} {one_line(error, 120)}".strip()
            raise ServiceError(
                f"{self} does not answer ({reason}); check the address, and that the server runs"
            ) from error
        except (httpx.InvalidURL, ValueError, OSError) as error:
            raise ConfigError(
                f"{self} cannot be asked ({type(error).__name__}); check the address, the credentials and the file of"
                " certificates"
            ) from error

    def _verify(self) -> ssl.SSLContext | bool:
        if self.insecure or not self.url.startswith("https:"):
            return False  # Without TLS nothing is verified, and loading certificates takes 50 ms.
        return ssl.create_default_context(cafile=self.certificates) if self.certificates else True


def is_http(url: str) -> bool:
    """Whether it is the address of an HTTP server."""
    return url.startswith(("http://", "https://"))


def says_yes(environment: Mapping[str, str], name: str) -> bool:
    """Whether the variable is set to what Prefect and MLflow take as true."""
    return environment.get(name, "").lower() in ("true", "1")
