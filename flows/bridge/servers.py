"""The two servers as the bridge uses them: the registry's tags are read, events are sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autocast_core.errors import ServiceError
from flows.bridge.settings import BridgeSettings
from flows.request.registry_tags import VersionTags

if TYPE_CHECKING:
    from uuid import UUID

    import httpx


class Servers:
    """Clients of Prefect's and MLflow's REST interfaces; to be closed."""

    def __init__(self, settings: BridgeSettings) -> None:
        import httpx

        def bearer(token: str | None) -> dict[str, str]:
            return {"Authorization": f"Bearer {token}"} if token else {}

        self._prefect = httpx.AsyncClient(
            base_url=settings.prefect_api,
            timeout=settings.timeout,
            auth=settings.prefect_auth,
            headers=bearer(settings.prefect_key),
        )
        self._tracking = httpx.AsyncClient(
            base_url=settings.tracking_uri,
            timeout=settings.timeout,
            auth=settings.tracking_auth,
            headers=bearer(settings.tracking_token),
        )

    async def close(self) -> None:
        await self._prefect.aclose()
        await self._tracking.aclose()

    async def tags_of(self, name: str, version: str) -> VersionTags | None:
        """The version's current tags; None: there is no such version. ServiceError as `send`."""
        found = await self._registry("model-versions/get", "model_version", name=name, version=version)
        model = await self._registry("registered-models/get", "registered_model", name=name)
        if found is None or model is None:
            return None
        return VersionTags(name, version, _tags(found), _tags(model))

    async def send(self, event: dict[str, Any]) -> None:
        """ServiceError where Prefect fails, does not answer or rejects the credentials: a retry may succeed."""
        await self._call(self._prefect, "Prefect", "POST", "events", json=[event])

    async def has_sent(self, event_id: UUID) -> bool:
        """Whether Prefect has the event: this bridge sent it before it was restarted, or another one did.

        ServiceError as `send`.
        """
        wanted = {"filter": {"id": {"id": [str(event_id)]}}, "limit": 1}
        response = await self._call(self._prefect, "Prefect", "POST", "events/filter", json=wanted)
        try:
            return bool(response.json()["events"])
        except (ValueError, KeyError, TypeError) as error:
            raise ServiceError("Prefect answers events/filter with something else than JSON of events") from error

    async def ask_prefect(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON that Prefect gives to a POST. ServiceError as `send`, and where it is no JSON."""
        response = await self._call(self._prefect, "Prefect", "POST", path, json=dict(body))
        try:
            return response.json()
        except ValueError as error:
            raise ServiceError(
                f"Prefect answers {path} with something else than JSON: check PREFECT_API_URL"
            ) from error

    async def ready(self) -> dict[str, bool]:
        """Which of the servers answer."""
        return {
            "prefect": await self._healthy(self._prefect, "health"),
            "mlflow": await self._healthy(self._tracking, "health"),
        }

    async def _registry(self, path: str, key: str, **parameters: str) -> dict[str, Any] | None:
        response = await self._call(self._tracking, "MLflow", "GET", f"api/2.0/mlflow/{path}", params=parameters)
        if response.status_code in (400, 404):
            return None
        try:
            found: dict[str, Any] = response.json()[key]
        except (ValueError, KeyError, TypeError) as error:
            raise ServiceError(
                f"MLflow answers {path} with something else than JSON of a {key}: check MLFLOW_TRACKING_URI"
            ) from error
        return found

    async def _call(
        self, client: httpx.AsyncClient, server: str, method: str, path: str, **content: Any
    ) -> httpx.Response:
        import httpx

        try:
            response = await client.request(method, path, **content)
        except httpx.HTTPError as error:
            raise ServiceError(f"{server} does not answer ({type(error).__name__})") from error
        if response.is_success or (server == "MLflow" and response.status_code in (400, 404)):
            return response
        raise ServiceError(f"{server} answers {response.status_code} to {method} {path}")

    async def _healthy(self, client: httpx.AsyncClient, path: str) -> bool:
        import httpx

        try:
            return (await client.get(path)).is_success
        except httpx.HTTPError:
            return False


def _tags(entity: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag.get("value", "") for tag in entity.get("tags", ())}
