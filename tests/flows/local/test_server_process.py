"""The embedded server's application tells clients when to try again."""

import asyncio

import pytest

from flows.local.server_process import with_short_waits


def headers_of(status):
    """The headers of a response with this status, as the client gets them."""
    sent = []

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": status, "headers": [(b"x", b"y")]})
        await send({"type": "http.response.body", "body": b"{}"})

    async def send(message):
        sent.append(message)

    asyncio.run(with_short_waits(application)({"type": "http"}, None, send))
    return dict(sent[0]["headers"])


def test_a_client_whose_request_met_a_locked_database_tries_again_at_once():
    assert headers_of(503) == {b"x": b"y", b"retry-after": b"0.1"}


@pytest.mark.parametrize("status", [200, 404, 500])
def test_other_responses_are_as_prefect_makes_them(status):
    assert headers_of(status) == {b"x": b"y"}
