"""One writer at a time for a destination in S3."""

import threading
import time

import pytest

from autocast_core.errors import ServiceError
from tasks.storage.objects import s3_lock
from tasks.storage.objects.s3_lock import marker_of, one_writer
from tasks.storage.publication import publish_files
from tasks.storage.uri import S3Location


def keys(client, bucket):
    return [each["Key"] for each in client.list_objects_v2(Bucket=bucket).get("Contents", ())]


def left_by_a_killed_run(client, location):
    marker = marker_of(location)
    client.put_object(Bucket=marker.bucket, Key=marker.key, Body=b"killed")


def test_two_writers_are_never_within_at_once_and_leave_nothing(client, bucket):
    location, within, most = S3Location(bucket, "out/model.onnx"), [], []

    def write(name):
        with one_writer(client, location, 5.0):
            within.append(name)
            most.append(len(within))
            time.sleep(0.3)
            within.remove(name)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1]
    assert keys(client, bucket) == []


def test_a_writer_that_beats_keeps_its_destination_beyond_the_lease(client, bucket):
    location, order = S3Location(bucket, "model.onnx"), []

    def second():
        with one_writer(client, location, 0.8):
            order.append("second")

    with one_writer(client, location, 0.8):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(2.5)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_the_destination_of_a_killed_run_is_taken_over_by_one_after_the_lease(client, bucket):
    location = S3Location(bucket, "out/model.onnx")
    left_by_a_killed_run(client, location)
    test_two_writers_are_never_within_at_once_and_leave_nothing(client, bucket)


def test_a_bucket_with_versions_keeps_none_of_the_lock(client, versioned_bucket):
    with one_writer(client, S3Location(versioned_bucket, "model.onnx"), 0.4):
        time.sleep(0.5)
    found = client.list_object_versions(Bucket=versioned_bucket)
    assert not found.get("Versions") and not found.get("DeleteMarkers")


def test_a_destination_that_is_not_free_for_long_is_one_line_with_the_object_to_delete(client, bucket, monkeypatch):
    location = S3Location(bucket, "out/model.onnx")
    left_by_a_killed_run(client, location)
    monkeypatch.setattr(s3_lock, "WAIT_LIMIT_SECONDS", 0.5)
    expected = pytest.raises(ServiceError, match=r"out/\.model\.onnx\.lock: another run .* delete this object")
    with expected, one_writer(client, location, 60.0):
        pass


@pytest.mark.parametrize("code", ["NotImplemented", "AccessDenied"])
def test_without_conditional_requests_a_destination_is_written_unlocked(client, bucket, monkeypatch, caplog, code):
    from botocore.exceptions import ClientError

    def refuse(**_):
        raise ClientError({"Error": {"Code": code}}, "PutObject")

    monkeypatch.setattr(client, "put_object", refuse)
    with one_writer(client, S3Location(bucket, "model.onnx"), 1.0):
        pass
    assert "the destination is not locked" in caplog.text


def test_two_runs_with_one_prefix_never_mix_their_files(client, bucket, options, write_model, tmp_path):
    """Models with external data: what lies there at the end is of one of them."""
    models = [write_model(tmp_path / str(seed) / "model.onnx", seed=seed, external=True) for seed in range(3)]
    threads = [
        threading.Thread(target=lambda model=model: publish_files(model, f"s3://{bucket}/out/", options=options))
        for model in models
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert keys(client, bucket) == ["out/model.onnx", "out/model.onnx.data"]
    data = client.get_object(Bucket=bucket, Key="out/model.onnx.data")["Body"].read()
    assert data in [(model.parent / "model.onnx.data").read_bytes() for model in models]
