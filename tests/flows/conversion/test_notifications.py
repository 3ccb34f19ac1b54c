import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest

from autocast_core.errors import GateError, ServiceError
from flows.conversion import notifications as notices

RUN = SimpleNamespace(id="1f", name="resnet-bf16", parameters={"model": "s3://m/r.onnx", "spec": {"precision": "bf16"}})


def state(kind, outcome, message=None):
    def result(raise_on_failure):
        assert raise_on_failure is False
        return outcome

    return SimpleNamespace(type=SimpleNamespace(value=kind), name=kind, message=message, result=result)


def test_a_completed_conversion_says_what_it_made():
    kind, payload = notices.notice(RUN, state("COMPLETED", {"run_id": "7", "registered": "models:/r-bf16/1"}))
    assert kind == "completed"
    assert (payload["precision"], payload["run_id"], payload["reason"]) == ("bf16", "7", None)
    assert notices.sentence(kind, payload) == ("AutoCast converted s3://m/r.onnx to bf16: models:/r-bf16/1 (run 7)")


def test_a_missed_gate_is_told_apart_from_other_failures():
    missed = GateError("gate missed: rel_l2<=1e-9\nis 0.1")
    kind, payload = notices.notice(RUN, state("FAILED", missed))
    assert (kind, payload["reason"]) == ("gate_failed", r"gate missed: rel_l2<=1e-9\nis 0.1")
    assert notices.notice(RUN, state("FAILED", ServiceError("down")))[0] == "failed"
    assert notices.notice(RUN, state("CRASHED", None, "killed"))[1]["reason"] == "killed"


@pytest.fixture
def received():
    posts = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", posts
    server.shutdown()
    server.server_close()


def test_people_get_a_line_where_an_address_is_set(received, monkeypatch):
    url, posts = received
    emitted = []
    monkeypatch.setattr(notices, "_emit", lambda *arguments: emitted.append(arguments[0]))
    monkeypatch.setenv("AUTOCAST_NOTIFY_URL", url)
    notices.announce(None, RUN, state("FAILED", ServiceError("S3 is down")))
    assert posts == [{"text": "AutoCast did not convert s3://m/r.onnx to bf16 (failed): S3 is down"}]
    assert emitted == ["failed"]


def test_a_notice_that_cannot_be_given_changes_nothing(monkeypatch, caplog):
    monkeypatch.setattr(notices, "_emit", lambda *_: None)
    monkeypatch.setenv("AUTOCAST_NOTIFY_URL", "http://127.0.0.1:9/secret-path")
    notices.announce(None, RUN, state("COMPLETED", None))
    assert "no notification of resnet-bf16" in caplog.text
    assert "secret-path" not in caplog.text
