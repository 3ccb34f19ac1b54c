"""Planted credentials: found nowhere in what a full run leaves behind, and wrong ones named in one line."""

import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from flows.local.embedded_server import free_port
from tasks.storage.objects.s3 import connect
from tests.faults.conftest import QUICK, bucket, mlflow_server, s3_proxy, s3_server  # noqa: F401 - used as fixtures
from tests.faults.proxy import serving
from tests.flows.conversions import batches, mlp

pytestmark = [pytest.mark.security, pytest.mark.xdist_group("secrets"), pytest.mark.timeout(500)]
AUTOCAST = str(Path(sys.executable).parent / "autocast")
USER, PASSWORD = "planted-user", "planted%pass/word"
PLANTED = {
    "AWS_ACCESS_KEY_ID": "AKIAPLANTEDKEY",
    "AWS_SECRET_ACCESS_KEY": "planted-secret-key",
    "AWS_SESSION_TOKEN": "planted-session-token",
    "AUTOCAST_WEBHOOK_SECRET": "planted-webhook-secret",
    "PREFECT_API_AUTH_STRING": "planted-prefect:planted-auth-string",
}


@pytest.fixture
def guarded(mlflow_server, real_servers, used):  # noqa: F811
    """The tracking server behind a proxy that asks for the planted user and password; its folder."""
    used.add("MLflow" if real_servers else "MLflow/sqlite")
    address, folder = mlflow_server
    with serving(address, f"{USER}:{PASSWORD}") as proxy:
        yield proxy, folder


def planted():
    """The credentials of a run, by their variables; a real S3 server has given those for itself."""
    given = {key: os.environ[key] for key in PLANTED if key.startswith("AWS_") and key in os.environ}
    return {key: value for key, value in (PLANTED | given).items() if value}


def autocast(folder, *arguments, **settings):
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "AWS_ENDPOINT_URL_S3") if key in os.environ}
    return subprocess.run(
        [AUTOCAST, *map(str, arguments)],
        cwd=folder,
        env={**kept, **planted(), "OMP_NUM_THREADS": "1", **settings},
        capture_output=True,
        text=True,
        timeout=450,
    )


def secrets():
    """All forms in which a planted secret may appear."""
    texts = [*planted().values(), PASSWORD, "planted%25pass%2Fword", USER]
    pairs = (f"{USER}:{PASSWORD}", PLANTED["PREFECT_API_AUTH_STRING"])
    texts += [base64.b64encode(pair.encode()).decode() for pair in pairs]
    return [text.encode() for text in texts]


def leaks(*folders):
    """Files below the folders that hold a planted secret, and how many were looked at."""
    found, looked = [], 0
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                # A server at work removes files meanwhile.
                with suppress(FileNotFoundError):
                    content = path.read_bytes()
                    looked += 1
                    found += [f"{path}: {secret!r}" for secret in secrets() if secret in content]
    return found, looked


def test_a_full_run_leaves_no_secret_behind(guarded, bucket, tmp_path, trial, nightly):  # noqa: F811
    proxy, server = guarded
    client, here = connect(QUICK), tmp_path / "here"
    (here / "flows").mkdir(parents=True)
    mark = tmp_path / "imported"
    for name in ("flows/__init__.py", "sitecustomize.py", "json.py", "prefect.py"):
        (here / name).write_text(f"open({str(mark)!r}, 'w').write('this folder was imported from')")
    client.upload_file(str(mlp(tmp_path / "m.onnx")), bucket, "m.onnx")
    client.upload_file(str(batches(tmp_path / "d.npz")), bucket, "d.npz")
    address = proxy.url.replace("://", f"://{USER}:planted%25pass%2Fword@")
    spec = here / "spec.yaml"
    spec.write_text("isolation: process\nvalidation: off\n")
    options = ["--calibration", f"s3://{bucket}/d.npz", "--output", f"s3://{bucket}/out/", "--spec", spec, "--json"]
    settings = {"AUTOCAST_HOME": str(here / "home"), "MLFLOW_TRACKING_URI": address, "TMPDIR": str(tmp_path)}
    done = autocast(here, "run", f"s3://{bucket}/m.onnx", *options, **settings)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-3000:]
    failed = autocast(here, "run", f"s3://{bucket}/none.onnx", *options, **settings)
    assert failed.returncode == 2, failed.stderr[-3000:]
    ended = [done, failed]
    for command in _further(here, bucket, spec) if nightly else ():
        ended.append(autocast(here, *command, "--json", **settings))
        assert ended[-1].returncode == 0, (command, ended[-1].stdout[-1500:], ended[-1].stderr[-3000:])
    said = "".join(each.stdout + each.stderr for each in ended).encode()
    assert not [secret for secret in secrets() if secret in said]
    assert not mark.exists()
    # Where there is a bucket of that name, the tracking server keeps its artifacts in it.
    for place in {bucket, "mlflow"} & {each["Name"] for each in client.list_buckets()["Buckets"]}:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=place):
            for each in page["Contents"]:
                target = here / "objects" / place / each["Key"]
                target.parent.mkdir(parents=True, exist_ok=True)
                client.download_file(place, each["Key"], str(target))
    found, looked = leaks(tmp_path, server)
    assert found == []
    assert looked > 30
    trial("secrets: files of a full and a failed run searched", looked, "no planted credential in any")


def _further(here, place, spec):
    """What else reads and writes with these credentials."""
    model, data = f"s3://{place}/m.onnx", f"s3://{place}/d.npz"
    fleet = here / "fleet.yaml"
    options = {"isolation": "process", "validation": "off", "calibration": data, "name": "of-a-fleet"}
    fleet.write_text(json.dumps({"models": [{"model": model}], "spec": options}))
    yield "tune", model, "--evaluation", data, "--budget", "sqnr_db>=40", "--spec", spec
    yield "fleet", fleet
    yield "validate", model, "--reference", model, "--evaluation", data, "--spec", spec
    yield "verify", "models:/m-fp16/1"
    yield "promote", "models:/m-fp16/1", "--alias", "champion"


def test_the_bridge_says_no_secret(tmp_path, trial):
    port = free_port()
    nowhere = {"PREFECT_API_URL": "http://127.0.0.1:9/api", "MLFLOW_TRACKING_URI": f"http://{USER}:planted@127.0.0.1:9"}
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    credentials = {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": PASSWORD}
    with (tmp_path / "log").open("wb") as log:
        bridge = subprocess.Popen(
            [AUTOCAST, "bridge", "serve", "--port", str(port)],
            cwd=tmp_path,
            env={**kept, **PLANTED, **nowhere, **credentials},
            stdout=log,
            stderr=log,
        )
    try:
        said = _conversation(f"http://127.0.0.1:{port}", bridge)
    finally:
        bridge.terminate()
        bridge.wait(30)
    said.append((tmp_path / "log").read_bytes())
    assert b"503" in said[0] or b"does not answer" in said[-1], said
    assert not [secret for secret in secrets() for text in said if secret in text]
    trial("secrets: answers and log of the bridge searched", len(said), "no planted credential in any")


def _conversation(url, bridge):
    """What the bridge answers to a genuine delivery whose servers are away, to forged ones and to those who look on."""
    body = json.dumps(
        {"entity": "model_version", "action": "created", "timestamp": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
        | {"data": {"name": "m", "version": "1"}}
    ).encode()
    identifier, stamp = str(uuid.uuid4()), str(int(time.time()))
    secret = PLANTED["AUTOCAST_WEBHOOK_SECRET"].encode()
    text = b".".join((identifier.encode(), stamp.encode(), body))
    right = base64.b64encode(hmac.new(secret, text, hashlib.sha256).digest()).decode()
    said = []
    with httpx.Client(base_url=url, timeout=30) as client:
        deadline = time.monotonic() + 60
        while bridge.poll() is None and time.monotonic() < deadline:
            try:
                client.get("/healthz")
                break
            except httpx.HTTPError:
                time.sleep(0.1)
        for signature in (f"v1,{right}", "v1,AAAA", ""):
            headers = {
                "x-mlflow-delivery-id": identifier,
                "x-mlflow-timestamp": stamp,
                "x-mlflow-signature": signature,
            }
            answer = client.post("/mlflow", content=body, headers=headers)
            said.append(f"{answer.status_code} {answer.headers} {answer.text}".encode())
        said += [client.get(path).content for path in ("/healthz", "/readyz", "/metrics", "/docs", "/openapi.json")]
    return said


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": "wrong-planted"}, "MLFLOW_TRACKING"),
        ({}, "MLFLOW_TRACKING"),
    ],
    ids=["a wrong password", "none"],
)
def test_a_wrong_tracking_credential_is_one_clear_line(guarded, tmp_path, trial, nightly, wrong, says):
    if not wrong and not nightly:
        pytest.skip("no credential at all: with --nightly")
    proxy, _ = guarded
    settings = {"AUTOCAST_HOME": str(tmp_path / "home"), "MLFLOW_TRACKING_URI": proxy.url, **wrong}
    model, data = mlp(tmp_path / "m.onnx"), batches(tmp_path / "d.npz")
    done = autocast(tmp_path, "run", model, "--calibration", data, "--json", **settings)
    assert done.returncode == 2, done.stdout + done.stderr[-2000:]
    error = json.loads(done.stdout)["error"]
    assert says in error and "\n" not in error and "wrong-planted" not in error
    trial(f"credentials: {'wrong' if wrong else 'no'} MLFLOW_TRACKING_PASSWORD", 1, error)
