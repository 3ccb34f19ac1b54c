"""Load: 200 webhooks in a second, 50 queued conversions, and a soak; nothing lost, nothing that grows."""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from flows.local.embedded_server import free_port
from tests.flows.conversions import batches, client, mlp

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults-load"), pytest.mark.timeout(3600)]
EVENT = "mlflow.model_version.created"
SOAK_MINUTES = 20
SECRET = "a secret of the load test"
AUTOCAST = str(Path(sys.executable).parent / "autocast")


@dataclass(frozen=True)
class Upstream:
    """The servers behind the bridge: their variables, a version that opts in, how many events about it came."""

    variables: dict[str, str]
    model: str
    arrived: Callable[[], int]
    names: frozenset[str]


@pytest.fixture(scope="module")
def upstream(real_servers):
    """Prefect and MLflow, or what answers for them after 20 ms."""
    if real_servers is None:
        with _stub() as (url, events):
            variables = {"PREFECT_API_URL": f"{url}/api", "MLFLOW_TRACKING_URI": url}
            yield Upstream(variables, "load", lambda: len({each["id"] for each in events}), frozenset({"stub"}))
        return
    real_servers.up("postgres", "ceph", "prefect", "mlflow")
    from mlflow import MlflowClient

    variables, model = real_servers.variables, f"load-{uuid.uuid4().hex[:6]}"
    registry = MlflowClient(variables["MLFLOW_TRACKING_URI"], variables["MLFLOW_TRACKING_URI"])
    registry.create_registered_model(model)
    registry.create_model_version(model, "s3://models/load.onnx", tags={"autocast.precision": "fp16"})
    wanted = {"event": {"name": [EVENT]}, "resource": {"id": [f"mlflow.model-version.{model}.1"]}}

    def arrived():
        answer = httpx.post(f"{variables['PREFECT_API_URL']}/events/filter", json={"filter": wanted}, timeout=60)
        return answer.json()["total"]

    yield Upstream(variables, model, arrived, frozenset({"MLflow", "Prefect"}))


@contextmanager
def _stub():
    """Answers as both servers would, and keeps the events that came."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    events = []

    async def answer(request):
        await asyncio.sleep(0.02)
        if request.url.path.endswith("/events"):
            events.extend(await request.json())
        tags = [{"key": "autocast.precision", "value": "fp16"}]
        return JSONResponse({"model_version": {"tags": tags}, "registered_model": {"tags": []}, "events": []})

    port = free_port()
    routes = [Route("/{path:path}", answer, methods=["GET", "POST"])]
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{port}", events
    server.should_exit = True
    thread.join()


def arrive(upstream, expected):
    """The number of events that came, once it is as expected; Prefect writes them down every few seconds."""
    deadline = time.monotonic() + 60
    while (now := upstream.arrived()) < expected and time.monotonic() < deadline:
        time.sleep(0.5)
    return now


@pytest.fixture
def bridge(upstream, tmp_path, used):
    """A bridge in a process of its own, and its address."""
    used |= upstream.names
    port = free_port()
    servers = {name: upstream.variables[name] for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI")}
    settings = {**servers, "AUTOCAST_WEBHOOK_SECRET": SECRET}
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(
            [AUTOCAST, "bridge", "serve", "--port", str(port)],
            env={"PATH": os.environ["PATH"], **settings},
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/healthz")
                break
            except httpx.HTTPError:
                assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.2)
        yield process, f"http://127.0.0.1:{port}/mlflow"
    finally:
        process.terminate()
        process.wait(30)


def signed(model, late=0.0):
    """A delivery as MLflow sends it, from a clock that is `late` seconds late."""
    said = {"entity": "model_version", "action": "created", "timestamp": datetime.now(UTC).isoformat()}
    body = json.dumps({**said, "data": {"name": model, "version": "1"}}).encode()
    delivery, stamp = str(uuid.uuid4()), str(int(time.time() - late))
    digest = hmac.new(SECRET.encode(), f"{delivery}.{stamp}.".encode() + body, hashlib.sha256).digest()
    headers = {"X-MLflow-Delivery-Id": delivery, "X-MLflow-Timestamp": stamp}
    return body, {**headers, "X-MLflow-Signature": f"v1,{base64.b64encode(digest).decode()}"}


async def deliver(url, model, count, seconds):
    """Sends `count` deliveries spread over `seconds`, each again as MLflow does until it is accepted; statuses."""

    async def one(session, number):
        await asyncio.sleep(seconds * number / count)
        body, headers = signed(model)
        seen = []
        for wait in (0.5, 1, 2, 4, 8, 16):
            answer = await session.post(url, content=body, headers=headers)
            seen.append(answer.status_code)
            if answer.status_code not in (429, 500, 502, 503, 504):
                break
            await asyncio.sleep(wait)
        return seen

    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=60, limits=limits) as session:
        return await asyncio.gather(*(one(session, number) for number in range(count)))


def grown(process):
    """Resident bytes, open files and threads of a process (proc(5))."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
    files = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
    return int(status["VmRSS"].split()[0]) << 10, files, int(status["Threads"])


def test_two_hundred_webhooks_in_a_second_are_all_passed_on(bridge, upstream, trial):
    process, url = bridge
    before, (memory, _, _) = upstream.arrived(), grown(process)
    started = time.monotonic()
    answers = asyncio.run(deliver(url, upstream.model, 200, 1.0))
    seconds = time.monotonic() - started
    lost = sum(seen[-1] != 202 for seen in answers)
    mebibytes = (grown(process)[0] - memory) >> 20
    assert arrive(upstream, before + 200) == before + 200
    assert mebibytes < 100
    said = f"accepted in {seconds:.1f} s, {sum(map(len, answers))} requests, memory +{mebibytes} MiB"
    trial("200 webhooks in a second", 200, said, lost)


def test_a_flood_of_forged_webhooks_passes_nothing_on(bridge, upstream, trial):
    _, url = bridge
    before = upstream.arrived()

    async def flood():
        async with httpx.AsyncClient(timeout=60) as session:
            wrong = {**signed(upstream.model)[1], "X-MLflow-Signature": "v1,AAAA"}
            posts = (session.post(url, content=os.urandom(1000), headers=wrong) for _ in range(300))
            return [answer.status_code for answer in await asyncio.gather(*posts)]

    answers = asyncio.run(flood())
    assert set(answers) <= {401, 429, 503}
    assert asyncio.run(deliver(url, upstream.model, 1, 0)) == [[202]]
    assert arrive(upstream, before + 1) == before + 1
    trial("flood of forged webhooks", 300, "none passed on; the next true one is")


@pytest.mark.parametrize("late", [400, -400], ids=["slow", "fast"])
def test_deliveries_of_a_clock_that_is_wrong_are_refused(bridge, upstream, trial, nightly, late):
    if not nightly:
        pytest.skip("with --nightly")
    _, url = bridge
    before = upstream.arrived()
    body, headers = signed(upstream.model, late)
    answers = [httpx.post(url, content=body, headers=headers).status_code for _ in range(3)]
    assert answers == [401] * 3
    body, headers = signed(upstream.model, late / 2)
    assert httpx.post(url, content=body, headers=headers).status_code == 202
    assert arrive(upstream, before + 1) == before + 1
    trial("webhooks of a clock that is 400 s off", 3, "refused; 200 s off: passed on")


def test_a_soak_of_the_bridge_grows_nothing(bridge, upstream, trial, nightly):
    if not nightly:
        pytest.skip("20 minutes: with --nightly")
    process, url = bridge
    before = upstream.arrived()
    asyncio.run(deliver(url, upstream.model, 100, 2.0))
    memory, files, threads = grown(process)
    sent, deadline = 0, time.monotonic() + 60 * SOAK_MINUTES
    while time.monotonic() < deadline:
        answers = asyncio.run(deliver(url, upstream.model, 50, 2.5))
        assert {seen[-1] for seen in answers} == {202}
        sent += 50
    lost = before + 100 + sent - arrive(upstream, before + 100 + sent)
    after = grown(process)
    assert after[0] - memory < 64 << 20
    assert after[1] <= files + 20 and after[2] <= threads + 20
    said = f"memory +{(after[0] - memory) >> 20} MiB, files {files} to {after[1]}, threads {threads} to {after[2]}"
    trial(f"soak of the bridge, {SOAK_MINUTES} minutes", sent, said, lost)


def test_queued_conversions_are_all_made(workplace, trial, named, nightly):
    if not nightly:
        pytest.skip("50 conversions: with --nightly")
    names = [named(f"queued{number}") for number in range(50)]
    lines = ["spec: {validation: off, allow_random: true}", "output: out/", "models:"]
    data = batches(workplace / "data.npz")
    for number, name in enumerate(names):
        lines.append(f"- {mlp(workplace / f'{name}.onnx', number)}")
    (workplace / "fleet.yaml").write_text("\n".join(lines) + "\n")
    assert data.exists()
    command = [AUTOCAST, "fleet", "fleet.yaml", "--json"]
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=workplace, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    most = 0
    said: list[bytes] = []
    reader = threading.Thread(target=lambda: said.append(process.stdout.read()))
    reader.start()
    while process.poll() is None:
        try:
            most = max(most, grown(process)[0])
        except (FileNotFoundError, KeyError):
            # It has ended; a zombie has no memory.
            break
        time.sleep(0.2)
    reader.join()
    models = json.loads(said[0])["models"]
    lost = sum(not one["ok"] for one in models)
    assert len({one["output_sha256"] for one in models if one["ok"]}) == 50
    versions = [len(client().search_model_versions(f"name = '{name}-fp16'")) for name in names]
    assert versions == [1] * 50
    told = f"{time.monotonic() - started:.0f} s, at most {most >> 20} MiB"
    trial("50 queued conversions", 50, told, lost)
