"""An HTTP proxy that lets requests through, or does to them what networks and overloaded servers do."""

from __future__ import annotations

import base64
import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

ERROR = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{}</Code><Message>planted</Message></Error>'
ANSWERS = {"slow down": (503, "SlowDown"), "expired": (400, "ExpiredToken"), "internal": (500, "InternalError")}
HOP = frozenset({"connection", "transfer-encoding", "keep-alive", "content-length", "date", "server"})

Fault = Callable[[int, str, str], str | None]
"""What is done to request number N (from 1), by method and path: delay, hold (until a later one is answered), cut,
corrupt, drop, a key of ANSWERS, None."""


class Proxy(ThreadingHTTPServer):
    """In front of `target`, an http:// address; `fault` may be exchanged at any time. Counts faults by name."""

    daemon_threads = True

    def __init__(self, target: str, password: str | None = None, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.target = urlsplit(target)
        self.password = password
        self.fault: Fault = lambda number, method, path: None
        self.requests = 0
        self.done: dict[str, int] = {}
        self.ranges: list[str] = []
        """Of the answers so far, in their order."""
        self.lock = threading.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def next_fault(self, method: str, path: str) -> str | None:
        with self.lock:
            self.requests += 1
            fault = self.fault(self.requests, method, path)
            if fault:
                self.done[fault] = self.done.get(fault, 0) + 1
            return fault

    def hold(self) -> None:
        """Returns when a further request is answered."""
        with self.lock:
            before = len(self.ranges)
            assert self.lock.wait_for(lambda: len(self.ranges) > before, 10), "no other request came"

    def note(self, answered: str) -> None:
        with self.lock:
            self.ranges.append(answered)
            self.lock.notify_all()

    def handle_error(self, request, client_address):
        """Clients that break off are part of the trial."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self._let_in():
            return self._answer(401, b"who are you?", [("WWW-Authenticate", "Basic")])
        fault = self.server.next_fault(self.command, self.path)
        if fault == "delay":
            time.sleep(0.3)
        if fault == "drop":
            self.close_connection = True
            return self.connection.close()
        if fault in ANSWERS:
            status, code = ANSWERS[fault]
            return self._answer(status, ERROR.format(code).encode(), [("Content-Type", "application/xml")])
        status, headers, content = self._ask(body)
        if fault == "corrupt" and content:
            content = content[:-1] + bytes([content[-1] ^ 1])
        if fault == "hold":
            self.server.hold()
        self._answer(status, content, headers, cut=fault == "cut")
        self.server.note(self.headers.get("Range", ""))

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = _handle  # noqa: N815

    def _let_in(self) -> bool:
        wanted = self.server.password
        return wanted is None or self.headers.get("Authorization") == "Basic " + base64.b64encode(
            wanted.encode()
        ).decode("ascii")

    def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        target = http.client.HTTPConnection(self.server.target.hostname or "", self.server.target.port, timeout=60)
        try:
            dropped = ("expect", "connection")
            headers = {name: value for name, value in self.headers.items() if name.lower() not in dropped}
            target.request(self.command, self.path, body or None, headers)
            answer = target.getresponse()
            content = answer.read()
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in HOP]
            if self.command == "HEAD":
                kept.append(("Content-Length", answer.getheader("Content-Length") or "0"))
            return answer.status, kept, content
        finally:
            target.close()

    def _answer(self, status: int, content: bytes, headers: list[tuple[str, str]], cut: bool = False) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def serving(target: str, password: str | None = None, port: int = 0) -> Iterator[Proxy]:
    proxy = Proxy(target, password, port)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()
