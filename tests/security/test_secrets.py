"""Planted credentials: found nowhere in what a full run leaves behind, and wrong ones named in one line."""

import base64
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tasks.storage.s3 import connect
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
    "MLFLOW_TRACKING_TOKEN": "",
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
    texts.append(base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode())
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


def test_a_full_run_leaves_no_secret_behind(guarded, bucket, tmp_path, trial):  # noqa: F811
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
    said = (done.stdout + done.stderr + failed.stdout + failed.stderr).encode()
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
    done = autocast(tmp_path, "run", mlp(tmp_path / "m.onnx"), "--json", **settings)
    assert done.returncode == 2, done.stdout + done.stderr[-2000:]
    error = json.loads(done.stdout)["error"]
    assert says in error and "\n" not in error and "wrong-planted" not in error
    trial(f"credentials: {'wrong' if wrong else 'no'} MLFLOW_TRACKING_PASSWORD", 1, error)
