"""The bridge's HTTP on a real socket."""

import asyncio
import contextlib

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from flows.bridge import head_timeout


async def _answer(_):
    return PlainTextResponse("ok")


@contextlib.asynccontextmanager
async def _served():
    """The port of a server of this protocol."""
    application = Starlette(routes=[Route("/", _answer)])
    config = uvicorn.Config(
        application, port=0, http=head_timeout.HeadTimeoutProtocol, log_level="error", lifespan="off"
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await running


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: a\r\n"], ids=["nothing", "half a head"])
def test_a_client_that_never_ends_its_head_is_cut_off(monkeypatch, sent):
    monkeypatch.setattr(head_timeout, "HEAD_SECONDS", 0.2)

    async def ask():
        async with _served() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            answer = await asyncio.wait_for(reader.read(), 20)
            writer.close()
            return answer

    assert asyncio.run(ask()) == b""


def test_requests_on_one_connection_are_answered_also_after_the_time_for_a_head(monkeypatch):
    monkeypatch.setattr(head_timeout, "HEAD_SECONDS", 0.2)

    async def ask():
        answers = []
        async with _served() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for _ in range(2):
                writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                answers.append(await asyncio.wait_for(reader.readuntil(b"ok"), 20))
                await asyncio.sleep(0.5)
            writer.close()
        return answers

    assert [answer.split(b"\r\n")[0] for answer in asyncio.run(ask())] == [b"HTTP/1.1 200 OK"] * 2
