import asyncio
import base64
import hashlib
import hmac
import json
import uuid
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from autocast_core.errors import ServiceError
from flows.bridge.app import make_app
from flows.bridge.settings import BridgeSettings
from flows.request.registry_tags import VersionTags

NOW = 1_800_000_000
SECRET = "correct horse battery"
SETTINGS = BridgeSettings("http://prefect/api", "http://mlflow", (SECRET,), max_bytes=4096, retry_after=7)
ASKING = VersionTags("resnet", "3", {"autocast.precision": "bf16"}, {})


class FakeServers:
    """What the bridge asks of Prefect and MLflow."""

    def __init__(self, tags=ASKING):
        self.tags, self.sent, self.down = tags, [], False

    async def close(self):
        pass

    async def tags_of(self, name, version):
        return self.tags

    async def send(self, event):
        if self.down:
            raise ServiceError("Prefect does not answer (ConnectError)")
        self.sent.append(event)

    async def has_sent(self, event_id):
        return any(event["id"] == str(event_id) for event in self.sent)

    async def ask_prefect(self, path, body):
        return []

    async def ready(self):
        return {"prefect": not self.down, "mlflow": True}


@pytest.fixture
def servers():
    return FakeServers()


@pytest.fixture
def bridge(servers):
    with TestClient(make_app(SETTINGS, servers, lambda: NOW)) as client:
        yield client


def message(entity="model_version", action="created", **data):
    given = {"name": "resnet", "version": "3", **data}
    return {"entity": entity, "action": action, "timestamp": "2027-01-15T08:00:00+00:00", "data": given}


def signed(body, *, delivery=None, timestamp=NOW, secret=SECRET):
    delivery = delivery or str(uuid.uuid4())
    digest = hmac.new(secret.encode(), f"{delivery}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "X-MLflow-Delivery-Id": delivery,
        "X-MLflow-Timestamp": str(timestamp),
        "X-MLflow-Signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def deliver(bridge, content, **how):
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return bridge.post("/mlflow", content=body, headers=signed(body, **how))


def count(bridge, outcome):
    lines = [line for line in bridge.get("/metrics").text.splitlines() if f'outcome="{outcome}"' in line]
    return sum(float(line.split()[1]) for line in lines if line.startswith("autocast_bridge_deliveries_total"))


def test_a_version_that_opts_in_becomes_an_event_that_asks_for_its_conversion(bridge, servers):
    delivery = str(uuid.uuid4())
    answer = deliver(bridge, message(source="s3://b/k"), delivery=delivery)
    assert (answer.status_code, answer.json()) == (202, {"requested": "models:/resnet/3"})
    (event,) = servers.sent
    assert event["id"] == delivery
    assert event["event"] == "mlflow.model_version.created"
    assert event["resource"]["prefect.resource.id"] == "mlflow.model-version.resnet.3"
    assert event["resource"]["autocast.request"] == "convert"
    assert event["payload"]["autocast"] == {"model": "models:/resnet/3", "spec": {"precision": "bf16"}}
    assert event["payload"]["source"] == "s3://b/k"
    assert count(bridge, "requested") == 1


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        (VersionTags("resnet", "3", {}, {}), "does not opt in"),
        (VersionTags("resnet", "3", {"autocast.precision": "int8"}, {}), "precision"),
        (VersionTags("resnet", "3", {"autocast.precision": "fp16", "autocast.source_sha256": "0"}, {}), "is an output"),
        (None, "no version"),
    ],
)
def test_other_versions_become_events_that_ask_for_nothing(tags, reason):
    servers = FakeServers(tags)
    with TestClient(make_app(SETTINGS, servers, lambda: NOW)) as bridge:
        answer = deliver(bridge, message())
    assert answer.status_code == 202
    assert reason in answer.json()["skipped"]
    assert "autocast.request" not in servers.sent[0]["resource"]


@pytest.mark.parametrize(
    ("said", "asks"),
    [
        (message("model_version_alias", alias="champion"), True),
        (message("model_version_tag", "set", key="autocast.precision", value="fp16"), True),
        (message("model_version_tag", "set", key="note", value="x"), False),
        (message("model_version_tag", "deleted", key="autocast.precision"), False),
        (message("model_version_alias", "deleted", alias="champion", version=None), False),
        (message("registered_model", version=None), False),
    ],
)
def test_aliases_and_our_tags_ask_and_nothing_else_does(bridge, servers, said, asks):
    assert deliver(bridge, said).status_code == 202
    assert ("autocast.request" in servers.sent[0]["resource"]) is asks


def test_a_tag_that_asks_for_an_approval_becomes_an_event_that_asks_for_a_promotion():
    """The event names the version and no alias: promote-version reads that from the version itself."""
    output = {"autocast.precision": "fp16", "autocast.source_sha256": "0", "autocast.approve": "champion"}
    servers = FakeServers(VersionTags("resnet", "3", output, {}))
    with TestClient(make_app(SETTINGS, servers, lambda: NOW)) as bridge:
        said = message("model_version_tag", "set", key="autocast.approve", value="champion")
        assert deliver(bridge, said).json() == {"requested": "models:/resnet/3"}
        assert count(bridge, "requested") == 1
    (event,) = servers.sent
    assert event["resource"]["autocast.request"] == "promote"
    assert event["resource"]["mlflow.tag.key"] == "autocast.approve"
    assert event["payload"]["autocast"] == {"model": "models:/resnet/3"}


@pytest.mark.parametrize(
    ("said", "own"),
    [
        (message("model_version_tag", "set", key="autocast.approve", value="champion"), {}),
        (message("model_version_tag", "deleted", key="autocast.approve"), {"autocast.approve": "champion"}),
        (message("model_version_tag", "set", key="autocast.approval"), {"autocast.approve": "champion"}),
        (message(), {"autocast.approve": "champion"}),
    ],
)
def test_an_approval_that_was_answered_and_other_news_of_the_version_ask_for_no_promotion(said, own):
    servers = FakeServers(VersionTags("resnet", "3", own, {"autocast.approve": "champion"} if not own else {}))
    with TestClient(make_app(SETTINGS, servers, lambda: NOW)) as bridge:
        assert "skipped" in deliver(bridge, said).json()
    assert "autocast.request" not in servers.sent[0]["resource"]


def test_a_wrong_signature_is_refused(bridge, servers):
    assert deliver(bridge, message(), secret="wrong").status_code == 401
    assert bridge.post("/mlflow", json=message()).status_code == 401
    assert servers.sent == []
    assert count(bridge, "bad_signature") == 1
    assert count(bridge, "unsigned") == 1


def test_a_changed_body_is_refused(bridge, servers):
    headers = signed(json.dumps(message()).encode())
    assert bridge.post("/mlflow", content=json.dumps(message(name="other")), headers=headers).status_code == 401
    assert servers.sent == []


@pytest.mark.parametrize("timestamp", [NOW - 301, NOW + 301, "soon", "٣"])
def test_a_stale_or_unreadable_timestamp_is_refused(bridge, timestamp):
    body = json.dumps(message()).encode()
    headers = {name: value.encode() for name, value in signed(body, timestamp=timestamp).items()}
    assert bridge.post("/mlflow", content=body, headers=headers).status_code == 401
    assert count(bridge, "stale") + count(bridge, "bad_signature") == 1


def test_a_replayed_delivery_is_refused(bridge, servers):
    delivery = str(uuid.uuid4())
    assert deliver(bridge, message(), delivery=delivery).status_code == 202
    assert deliver(bridge, message(), delivery=delivery).status_code == 409
    assert len(servers.sent) == 1
    assert (count(bridge, "replayed"), count(bridge, "requested")) == (1, 1)


def test_a_delivery_that_was_accepted_is_refused_by_a_restarted_bridge_and_by_another_one(servers):
    delivery, answers = str(uuid.uuid4()), []
    for _ in range(2):
        with TestClient(make_app(SETTINGS, servers, lambda: NOW)) as bridge:
            answers.append(deliver(bridge, message(), delivery=delivery).status_code)
    assert answers == [202, 409]
    assert len(servers.sent) == 1


def test_a_clock_that_jumps_lets_no_delivery_in_twice(servers):
    """Set an hour forward, the bridge forgets the ids that it has seen; set back, their timestamps are fresh again."""
    clock, delivery = [float(NOW)], str(uuid.uuid4())
    with TestClient(make_app(SETTINGS, servers, lambda: clock[0])) as bridge:
        answers = [deliver(bridge, message(), delivery=delivery).status_code]
        clock[0] += 3600
        answers.append(deliver(bridge, message(), delivery=delivery).status_code)
        answers.append(deliver(bridge, message(), timestamp=NOW + 3600).status_code)
        clock[0] -= 3600
        answers.append(deliver(bridge, message(), delivery=delivery).status_code)
    assert answers == [202, 401, 202, 409]
    assert [event["id"] for event in servers.sent].count(delivery) == 1


def test_the_present_secret_and_the_one_before_are_accepted_while_it_is_replaced(servers):
    settings = replace(SETTINGS, secrets=("the new secret of today", SECRET))
    with TestClient(make_app(settings, servers, lambda: NOW)) as bridge:
        answers = [deliver(bridge, message(), secret=one).status_code for one in (*settings.secrets, "another one")]
    assert answers == [202, 202, 401]


def test_line_ends_and_escapes_of_a_delivery_are_written_out_in_the_log(bridge, caplog):
    caplog.set_level("INFO")
    assert deliver(bridge, message("model\nversion\x1b[2J")).status_code == 202
    (line,) = [record.getMessage() for record in caplog.records if "skipped" in record.getMessage()]
    assert line.isprintable()
    assert r"model\nversion\x1b[2J.created" in line


def test_an_oversized_body_is_refused_before_it_is_read(bridge, servers):
    assert deliver(bridge, b"x" * 4097).status_code == 413
    assert count(bridge, "oversized") == 1


@pytest.mark.parametrize(
    "body",
    [
        *(b"no json", b"[]", b"{}", b"[" * 2000, b"\xff"),
        json.dumps({**message(), "action": "eaten"}).encode(),
        json.dumps(message(name="half a surrogate \ud800")).encode(),
    ],
)
def test_a_malformed_body_is_refused(bridge, servers, body):
    assert deliver(bridge, body).status_code == 422
    assert servers.sent == []
    assert count(bridge, "malformed") == 1


def test_a_delivery_id_that_is_no_uuid_is_refused(bridge):
    assert deliver(bridge, message(), delivery="1; drop").status_code == 422


def test_while_prefect_is_down_mlflow_is_told_when_to_come_again_and_then_accepted(bridge, servers):
    delivery = str(uuid.uuid4())
    servers.down = True
    answer = deliver(bridge, message(), delivery=delivery)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "7")
    assert bridge.get("/readyz").status_code == 503
    servers.down = False
    assert deliver(bridge, message(), delivery=delivery).status_code == 202
    assert len(servers.sent) == 1
    assert bridge.get("/readyz").status_code == 200


def test_the_bridge_is_alive_whatever_its_servers_do(bridge, servers):
    servers.down = True
    assert bridge.get("/healthz").json() == {"ok": True}


def test_a_bridge_to_which_nobody_signs_rightly_says_so_and_stays_in_service(bridge):
    for secret in ("another", "another"):
        deliver(bridge, message(), secret=secret)
    assert "degraded" not in bridge.get("/readyz").json()
    bridge.post("/mlflow", content=b"{}")
    answer = bridge.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["degraded"] == (
        "the last 3 deliveries were not signed with this bridge's secret: "
        "run autocast bridge register with its variables"
    )
    assert "autocast_bridge_wrongly_signed_in_a_row 3.0" in bridge.get("/metrics").text
    deliver(bridge, message())
    assert "degraded" not in bridge.get("/readyz").json()


def test_nothing_secret_is_logged(bridge, caplog):
    caplog.set_level("DEBUG")
    body = json.dumps(message(description="private words")).encode()
    headers = signed(body)
    bridge.post("/mlflow", content=body, headers=headers)
    bridge.post("/mlflow", content=body, headers={**headers, "X-MLflow-Signature": "v1,guess"})
    for secret in (SECRET, headers["X-MLflow-Signature"], "private words", "guess"):
        assert secret not in caplog.text
    assert SECRET not in repr(SETTINGS)


def test_two_hundred_deliveries_in_a_second_are_all_accepted(bridge, servers):
    answers = [deliver(bridge, message(version=str(number))).status_code for number in range(200)]
    assert answers == [202] * 200
    assert len({event["id"] for event in servers.sent}) == 200


def test_more_than_the_rate_are_told_to_come_again(servers):
    clock = [float(NOW)]
    settings = replace(SETTINGS, per_second=5.0)
    with TestClient(make_app(settings, servers, lambda: clock[0])) as bridge:
        answers = [deliver(bridge, message()).status_code for _ in range(15)]
        assert answers == [202] * 10 + [429] * 5
        clock[0] += 1
        assert [deliver(bridge, message()).status_code for _ in range(6)] == [202] * 5 + [429]
        clock[0] -= 100
        assert deliver(bridge, message()).status_code == 429
    assert len(servers.sent) == 15


def test_a_body_that_never_ends_is_given_up(servers):
    from flows.bridge.app import _body
    from flows.bridge.delivery import DeliveryRejectedError

    class Stalled:
        async def stream(self):
            yield b"{"
            await asyncio.sleep(600)

    with pytest.raises(DeliveryRejectedError, match=r"within 0\.05 s") as caught:
        asyncio.run(_body(Stalled(), 100, 0.05))
    assert caught.value.status == 408
