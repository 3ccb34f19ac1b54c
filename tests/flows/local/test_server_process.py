"""The embedded server's application tells clients when to try again."""

import asyncio

import pytest

from flows.local.server_process import with_short_waits


def headers_of(status, moments=(0.0,)):
    """The headers of the last response with this status, of those at `moments`, as the client gets them."""
    sent, clock = [], iter(moments)

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": status, "headers": [(b"x", b"y")]})
        await send({"type": "http.response.body", "body": b"{}"})

    async def send(message):
        sent.append(message)

    served = with_short_waits(application, lambda: next(clock))
    for _ in moments:
        asyncio.run(served({"type": "http"}, None, send))
    return dict(sent[-2]["headers"])


def test_a_client_whose_request_met_a_locked_database_tries_again_at_once():
    assert headers_of(503) == {b"x": b"y", b"retry-after": b"0.1"}


@pytest.mark.parametrize(
    ("moments", "wait"),
    [
        ([0.0, 0.1], b"0.2"),
        ([0.0, 0.1, 0.2], b"0.4"),
        ([0.1 * n for n in range(9)], b"4"),
        ([0.0, 0.1, 0.2, 60.0], b"0.1"),
    ],
)
def test_clients_wait_longer_while_the_database_stays_locked(moments, wait):
    assert headers_of(503, moments)[b"retry-after"] == wait


@pytest.mark.parametrize("status", [200, 404, 500])
def test_other_responses_are_as_prefect_makes_them(status):
    assert headers_of(status) == {b"x": b"y"}
