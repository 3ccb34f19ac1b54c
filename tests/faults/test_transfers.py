"""Fetching and publishing through a network that delays, cuts, corrupts, refuses and reorders."""

import hashlib
import os
from datetime import timedelta

import numpy as np
import pytest

from autocast_core.errors import AutocastError, InputError, ServiceError
from tasks.storage.data import fetch_data
from tasks.storage.objects.s3 import connect
from tasks.storage.objects.s3_lock import marker_of
from tasks.storage.publication import publish_files
from tasks.storage.uri import S3Location
from tests.faults.conftest import QUICK
from tests.flows.conversions import mlp

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults-transfers")]

FAULTS = ("delay", "cut", "drop", "slow down", "internal", "expired", "corrupt")
PARTS = 6


def body():
    return np.random.default_rng(0).bytes(PARTS * QUICK.part_bytes)


def sampled(fault, when, nightly):
    """Three faults each way in every run, all of them at night."""
    sample = ("drop", "slow down", "corrupt") if when is every_other else ("cut", "expired", "internal")
    if not nightly and fault not in sample:
        pytest.skip("with --nightly")


def stored(bucket, content):
    """An object that records its digest, as those do that we publish."""
    digest = hashlib.sha256(content).hexdigest()
    connect(QUICK).put_object(Bucket=bucket, Key="data.npz", Body=content, Metadata={"sha256": digest})
    return f"s3://{bucket}/data.npz"


def check_line(error):
    """One line, without a credential."""
    secrets = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    assert "\n" not in str(error)
    assert not [name for name in secrets if os.environ[name] in str(error)]


def every_other(fault):
    """Every second transfer of content; what botocore tries again may get through."""
    return lambda number, method, path: fault if number % 2 == 0 else None


def from_the_third_on(fault):
    """Nothing gets through from then on, as when credentials expire in mid-transfer."""
    return lambda number, method, path: fault if number >= 3 else None


@pytest.mark.parametrize("when", [every_other, from_the_third_on], ids=["now and then", "for good"])
@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_fetched_is_whole_or_not_there(s3_proxy, bucket, tmp_path, trial, fault, when, nightly):
    sampled(fault, when, nightly)
    content = body()
    uri = stored(bucket, content)
    s3_proxy.requests, s3_proxy.fault = 0, when(fault)
    try:
        found = fetch_data(uri, tmp_path, options=QUICK).path
        assert found.read_bytes() == content
        outcome = "whole"
    except AutocastError as error:
        assert isinstance(error, InputError if fault in ("expired", "corrupt") else ServiceError), error
        check_line(error)
        assert not any((tmp_path / "data").rglob("*.npz"))
        outcome = "refused in one line"
    done = s3_proxy.done.get(fault, 0)
    assert done, "the fault was never tried"
    s3_proxy.fault = lambda number, method, path: None
    again = fetch_data(uri, tmp_path, options=QUICK)
    assert hashlib.sha256(again.path.read_bytes()).digest() == hashlib.sha256(content).digest()
    trial(f"fetch: {fault}", done, f"{outcome}; then whole")


@pytest.mark.parametrize("when", [every_other, from_the_third_on], ids=["now and then", "for good"])
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "corrupt"])
def test_what_is_published_is_whole_or_taken_back(s3_proxy, bucket, tmp_path, trial, fault, when, nightly):
    sampled(fault, when, nightly)
    model, plan = mlp(tmp_path / "model.onnx"), tmp_path / "plan.json"
    plan.write_text("{}")
    s3_proxy.requests, s3_proxy.fault = 0, when(fault)
    try:
        publish_files(model, f"s3://{bucket}/out/", plan=plan, options=QUICK)
        outcome = "whole"
    except AutocastError as error:
        assert isinstance(error, InputError if fault == "expired" else ServiceError), error
        check_line(error)
        outcome = "refused in one line"
    done = s3_proxy.done.get(fault, 0)
    assert done, "the fault was never tried"
    s3_proxy.fault = lambda number, method, path: None
    keys = contents(bucket)
    # The model comes last: whoever sees it sees the rest, and all of it.
    assert keys.get("out/model.onnx") in (None, model.read_bytes())
    assert "out/model.onnx" not in keys or set(keys) == {"out/model.onnx", "out/plan.json"}
    publish_files(model, f"s3://{bucket}/out/", plan=plan, options=QUICK)
    assert contents(bucket) == {"out/model.onnx": model.read_bytes(), "out/plan.json": b"{}"}
    trial(f"publish: {fault}", done, f"{outcome}; then whole")


def test_a_destination_that_a_killed_run_left_locked_is_taken_over(s3_proxy, bucket, tmp_path, trial):
    """On the real server: each compares ETags in its own way."""
    marker = marker_of(S3Location(bucket, "out/model.onnx"))
    connect(QUICK).put_object(Bucket=bucket, Key=marker.key, Body=b"killed")
    model, plan = mlp(tmp_path / "model.onnx"), tmp_path / "plan.json"
    plan.write_text("{}")
    publish_files(model, f"s3://{bucket}/out/", plan=plan, options=QUICK)
    assert set(contents(bucket)) == {"out/model.onnx", "out/plan.json"}
    trial("publish: a lock left by a killed run", 1, "taken over after the lease; whole")


def contents(bucket):
    client = connect(QUICK)
    found = client.list_objects_v2(Bucket=bucket).get("Contents", ())
    return {each["Key"]: client.get_object(Bucket=bucket, Key=each["Key"])["Body"].read() for each in found}


def test_ranges_that_arrive_in_another_order_make_the_same_file(s3_proxy, bucket, tmp_path, trial):
    content = body()
    uri = stored(bucket, content)
    # The object itself is asked for first; of its ranges each first one waits for the second.
    s3_proxy.requests, s3_proxy.fault = 0, lambda number, method, path: "hold" if number % 2 == 0 else None
    s3_proxy.ranges.clear()
    assert fetch_data(uri, tmp_path, options=QUICK).path.read_bytes() == content
    arrived = [int(each.removeprefix("bytes=").partition("-")[0]) for each in s3_proxy.ranges if each]
    assert len(arrived) == PARTS
    assert arrived != sorted(arrived)
    trial("fetch: ranges reordered", s3_proxy.done["hold"], f"arrived as {arrived}; whole")


@pytest.mark.parametrize("hours", [-1, 1], ids=["slow", "fast"])
def test_a_clock_that_is_wrong_is_named(s3_proxy, s3_server, bucket, tmp_path, trial, monkeypatch, hours):
    import botocore.auth

    from tests.faults import proxy

    uri = stored(bucket, b"x")
    if s3_server.name == "moto":
        # It does not look at the time.
        monkeypatch.setitem(proxy.ANSWERS, "skew", (403, "RequestTimeTooSkewed"))
        s3_proxy.fault = lambda number, method, path: "skew"
    now = botocore.auth.get_current_datetime
    with monkeypatch.context() as patch:
        patch.setattr(botocore.auth, "get_current_datetime", lambda *zone: now(*zone) + timedelta(hours=hours))
        with pytest.raises(InputError, match="set the clock") as caught:
            fetch_data(uri, tmp_path, options=QUICK)
    check_line(caught.value)
    s3_proxy.fault = lambda number, method, path: None
    assert fetch_data(uri, tmp_path, options=QUICK).path.read_bytes() == b"x"
    trial("fetch: clock an hour off", 1, str(caught.value).partition(": ")[2])


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"])
def test_a_wrong_s3_credential_is_one_clear_line(s3_proxy, s3_server, bucket, tmp_path, trial, monkeypatch, name):
    if s3_server.name == "moto":
        pytest.skip("moto lets everybody in; infra/local/packages installs a server that does not")
    uri = stored(bucket, b"x")
    monkeypatch.setenv(name, "wrong-planted")
    with pytest.raises(InputError, match=r"AWS_|credentials") as caught:
        fetch_data(uri, tmp_path, options=QUICK)
    check_line(caught.value)
    trial(f"credentials: wrong {name}", 1, str(caught.value).partition(": ")[2])
