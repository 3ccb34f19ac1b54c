"""The registry and Prefect as the bridge asks them, answered by a transport in this process."""

import asyncio

import httpx
import pytest

from autocast_core.errors import ServiceError
from flows.bridge.servers import Servers
from flows.bridge.settings import BridgeSettings

SETTINGS = BridgeSettings("http://prefect/api/", "http://mlflow/", ("correct horse battery",))


def asked(question, answer, monkeypatch):
    """What `question` makes of servers that give `answer` to every request."""
    client = httpx.AsyncClient
    transport = httpx.MockTransport(lambda request: answer)
    monkeypatch.setattr(httpx, "AsyncClient", lambda **options: client(transport=transport, **options))

    async def ask():
        servers = Servers(SETTINGS)
        try:
            return await question(servers)
        finally:
            await servers.close()

    return asyncio.run(ask())


PAGES = [httpx.Response(200, html="<html>Please log in</html>"), httpx.Response(200, json=["no object"])]


@pytest.mark.parametrize("page", PAGES, ids=["a page", "other JSON"])
def test_a_registry_that_answers_with_a_page_is_worth_another_try(page, monkeypatch):
    """As a proxy that asks for a login does: MLflow is told to deliver again, as with a server that is down."""
    with pytest.raises(ServiceError, match="something else than JSON of a model_version: check MLFLOW_TRACKING_URI"):
        asked(lambda servers: servers.tags_of("m", "1"), page, monkeypatch)


@pytest.mark.parametrize("page", PAGES, ids=["a page", "other JSON"])
def test_a_prefect_that_answers_with_a_page_is_worth_another_try(page, monkeypatch):
    with pytest.raises(ServiceError, match="something else than JSON of events"):
        asked(lambda servers: servers.has_sent("5d3f"), page, monkeypatch)


def test_a_version_that_is_not_there_has_no_tags(monkeypatch):
    assert asked(lambda servers: servers.tags_of("m", "1"), httpx.Response(404, json={}), monkeypatch) is None
