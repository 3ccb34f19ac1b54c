import errno
import hashlib
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from autocast_core.errors import InputError, OutputError, ServiceError
from tasks.storage.cache import Cache
from tasks.storage.objects.download import fetch_object
from tasks.storage.objects.s3 import PinnedObject, connect, pin
from tasks.storage.uri import S3Location

PART = 1 << 16  # as in conftest


class CutError(Exception):
    pass


def content(parts: float) -> bytes:
    return np.random.default_rng(0).bytes(int(parts * PART))


def put(client, bucket, body, key="key", **extra):
    client.put_object(Bucket=bucket, Key=key, Body=body, **extra)
    return pin(client, S3Location(bucket, key))


def counted(client, monkeypatch):
    """The ranges that are requested from here on."""
    ranges = []
    original = client.get_object

    def get_object(**arguments):
        ranges.append((arguments["Range"], arguments["IfMatch"]))
        return original(**arguments)

    monkeypatch.setattr(client, "get_object", get_object)
    return ranges


def cut_after(parts):
    def progress(step):
        if step.done >= parts * PART:
            raise CutError

    return progress


@pytest.mark.parametrize("parts", [0, 0.5, 1, 1.5, 4, 5.25])
def test_objects_of_all_sizes_arrive_whole(client, bucket, options, tmp_path, parts):
    body = content(parts)
    cache = Cache.open(tmp_path)
    reference = fetch_object(client, put(client, bucket, body), cache, options)
    assert cache.expect(reference).path.read_bytes() == body
    assert cache.expect(reference).digest == hashlib.sha256(body).hexdigest()


def test_every_range_asks_for_the_pinned_state(client, bucket, options, tmp_path, monkeypatch):
    pinned = put(client, bucket, content(3.5))
    ranges = counted(client, monkeypatch)
    fetch_object(client, pinned, Cache.open(tmp_path), options)
    assert sorted(ranges) == sorted(
        (f"bytes={first}-{last}", pinned.etag)
        for first, last in [(0, PART - 1), (PART, 2 * PART - 1), (2 * PART, 3 * PART - 1), (3 * PART, 3.5 * PART - 1)]
        for first, last in [(first, int(last))]
    )


def test_a_cut_transfer_goes_on_where_it_stopped(client, bucket, options, tmp_path, monkeypatch):
    body = content(10)
    pinned, cache = put(client, bucket, body), Cache.open(tmp_path)
    with pytest.raises(CutError):
        fetch_object(client, pinned, cache, options, cut_after(4))
    assert list((tmp_path / "references").iterdir()) == []
    journal = next((tmp_path / "parts").glob("*.done"))
    done = len(journal.read_text().split())
    assert done >= 4
    ranges, seen = counted(client, monkeypatch), []
    reference = fetch_object(client, pinned, cache, options, seen.append)
    assert len(ranges) == 10 - done
    assert seen[0].done == done * PART
    assert cache.expect(reference).path.read_bytes() == body


def test_a_journal_without_its_file_is_not_believed(client, bucket, options, tmp_path):
    body = content(4)
    pinned, cache = put(client, bucket, body), Cache.open(tmp_path)
    with pytest.raises(CutError):
        fetch_object(client, pinned, cache, options, cut_after(2))
    next((tmp_path / "parts").glob("*.partial")).unlink()
    reference = fetch_object(client, pinned, cache, options)
    assert cache.expect(reference).path.read_bytes() == body


def test_an_object_that_changes_meanwhile_is_never_mixed(client, bucket, options, tmp_path):
    pinned, cache = put(client, bucket, content(4)), Cache.open(tmp_path)
    with pytest.raises(CutError):
        fetch_object(client, pinned, cache, options, cut_after(2))
    client.put_object(Bucket=bucket, Key="key", Body=b"x" * 4 * PART)
    with pytest.raises(ServiceError, match=rf"s3://{bucket}/key at .*changed"):
        fetch_object(client, pinned, cache, options)
    assert list((tmp_path / "references").iterdir()) == []
    reference = fetch_object(client, pin(client, pinned.location), cache, options)
    assert cache.expect(reference).path.read_bytes() == b"x" * 4 * PART


def test_an_object_deleted_meanwhile_is_missing(client, bucket, options, tmp_path):
    pinned = put(client, bucket, content(1))
    client.delete_object(Bucket=bucket, Key="key")
    with pytest.raises(InputError, match="does not exist"):
        fetch_object(client, pinned, Cache.open(tmp_path), options)


@pytest.mark.parametrize("recorded", ["metadata", "checksum"])
def test_a_recorded_sha256_is_read(client, bucket, recorded):
    digest = hashlib.sha256(b"12345")
    extra = {"Metadata": {"sha256": digest.hexdigest()}} if recorded == "metadata" else {"ChecksumAlgorithm": "SHA256"}
    assert put(client, bucket, b"12345", **extra).sha256 == digest.hexdigest()


def test_content_that_misses_its_recorded_sha256_is_refused(client, bucket, options, tmp_path, monkeypatch):
    pinned = put(client, bucket, b"12345", Metadata={"sha256": "0" * 64})
    ranges = counted(client, monkeypatch)
    with pytest.raises(InputError, match=f"records {'0' * 64}"):
        fetch_object(client, pinned, Cache.open(tmp_path), options)
    assert len(ranges) == 2, "a damaged transfer is tried once more"
    assert list((tmp_path / "parts").iterdir()) == []


class Broken:
    """A body whose connection ends after 10 bytes."""

    def __init__(self, body):
        self.body = body

    def iter_chunks(self, size):
        from botocore.exceptions import ResponseStreamingError

        yield self.body.read(10)
        raise ResponseStreamingError(error="connection reset")


@pytest.mark.parametrize("breaks", [1, 5])
def test_a_connection_that_breaks_in_a_range_is_tried_again(client, bucket, options, tmp_path, monkeypatch, breaks):
    from dataclasses import replace

    body, original, left = content(1), client.get_object, [breaks]

    def get_object(**arguments):
        response = original(**arguments)
        if left[0]:
            left[0] -= 1
            response["Body"] = Broken(response["Body"])
        return response

    pinned, cache = put(client, bucket, body), Cache.open(tmp_path)
    monkeypatch.setattr(client, "get_object", get_object)
    if breaks == 1:
        reference = fetch_object(client, pinned, cache, replace(options, attempts=2))
        assert cache.expect(reference).path.read_bytes() == body
    else:
        with pytest.raises(ServiceError, match="breaks again and again"):
            fetch_object(client, pinned, cache, replace(options, attempts=2))


def test_a_server_that_ignores_ranges_is_named(client, bucket, options, tmp_path, monkeypatch):
    pinned, original = put(client, bucket, content(2)), client.get_object
    monkeypatch.setattr(client, "get_object", lambda Range, **arguments: original(**arguments))  # noqa: N803
    with pytest.raises(ServiceError, match="ignores byte ranges"):
        fetch_object(client, pinned, Cache.open(tmp_path), options)


def test_a_full_disk_is_told_before_the_transfer(client, bucket, options, tmp_path, monkeypatch):
    from collections import namedtuple

    pinned = put(client, bucket, content(1))
    usage = namedtuple("usage", "total used free")(10, 5, 5)
    monkeypatch.setattr("tasks.storage.objects.download.shutil.disk_usage", lambda _: usage)
    with pytest.raises(OutputError, match=f"{PART} bytes are needed and 5 are free"):
        fetch_object(client, pinned, Cache.open(tmp_path), options)


def fetch_in_process(uri_parts, folder, options, results):
    client, cache = connect(options), Cache.open(Path(folder))
    reference = fetch_object(client, pin(client, S3Location(*uri_parts)), cache, options)
    results.put((os.getpid(), cache.expect(reference).digest))


def test_two_processes_fetch_the_same_object_at_once(client, bucket, options, tmp_path):
    body = content(20)
    put(client, bucket, body)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [
        context.Process(target=fetch_in_process, args=((bucket, "key"), str(tmp_path), options, results))
        for _ in range(2)
    ]
    for process in processes:
        process.start()
    found = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(timeout=60)
    assert {digest for _, digest in found} == {hashlib.sha256(body).hexdigest()}
    assert len({pid for pid, _ in found}) == 2


def test_a_size_that_no_disk_has_is_refused_before_anything_is_planned(client, options, tmp_path):
    pinned = PinnedObject(S3Location("bucket", "key"), "etag", 1 << 62, None)
    with pytest.raises(OutputError, match=f"{1 << 62} bytes are needed"):
        fetch_object(client, pinned, Cache.open(tmp_path), options)
    assert list((tmp_path / "parts").iterdir()) == []


@pytest.mark.parametrize("name", ["..", ".", "a" * 201, "a/../b", "/a", ""], ids=lambda name: name[:8])
def test_a_name_that_no_file_can_have_makes_no_path_in_the_cache(tmp_path, name):
    with pytest.raises(InputError, match="cannot be that of a file: copy the object to another key"):
        Cache.open(tmp_path).place("data", {name: "reference"})


def test_a_full_cache_is_told_from_one_that_cannot_be_written(tmp_path):
    cache = Cache.open(tmp_path)
    with (
        pytest.raises(OutputError, match=r"No space left on device.; free space there, or set AUTOCAST_CACHE"),
        cache.writing(),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(OutputError, match=r"File exists.; set AUTOCAST_CACHE to another folder"), cache.writing():
        raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))


def test_copies_in_the_cache_have_the_permissions_that_the_umask_allows(client, bucket, options, tmp_path):
    earlier = os.umask(0o077)
    try:
        cache = Cache.open(tmp_path)
        reference = fetch_object(client, put(client, bucket, b"1"), cache, options)
        one, _ = cache.place("data", {"a.npz": reference})
        two, _ = cache.place("data", {"b.npz": reference})
    finally:
        os.umask(earlier)
    assert {path.stat().st_mode & 0o777 for path in (one / "a.npz", two / "b.npz")} == {0o600}
