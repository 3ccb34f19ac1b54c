import hashlib
from types import SimpleNamespace

import pytest

from autocast_core.errors import ConfigError, DataError, InputError
from autocast_core.file_digest import files_digest
from tasks.storage.data import FetchedData, fetch_data
from tasks.storage.objects.s3 import list_names
from tasks.storage.uri import S3Location


def test_a_local_file_is_used_where_it_is(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"a")
    fetched = fetch_data(str(tmp_path / "a.npz"), tmp_path / "cache")
    assert fetched == FetchedData(tmp_path / "a.npz", hashlib.sha256(b"a").hexdigest())
    assert not (tmp_path / "cache").exists()


def test_a_local_folder_is_its_data_files(tmp_path):
    for name in ("b.npz", "a.npz", "notes.txt"):
        (tmp_path / name).write_bytes(name.encode())
    fetched = fetch_data(str(tmp_path))
    assert fetched.path == tmp_path
    assert fetched.digest == files_digest(tmp_path, [tmp_path / "a.npz", tmp_path / "b.npz"])


@pytest.mark.parametrize("name", ["missing.npz", "empty"])
def test_data_that_are_not_there_are_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=name):
        fetch_data(str(tmp_path / name))


def test_an_s3_object_keeps_its_name_and_content(client, bucket, options, tmp_path):
    client.put_object(Bucket=bucket, Key="d/batch.json", Body=b"{}")
    fetched = fetch_data(f"s3://{bucket}/d/batch.json", tmp_path, options=options)
    assert fetched.path.name == "batch.json"
    assert fetched.path.read_bytes() == b"{}"
    assert fetched.digest == hashlib.sha256(b"{}").hexdigest()


@pytest.mark.parametrize("prefix", ["d/", "d"])
def test_a_prefix_gives_the_same_digest_as_the_folder(client, bucket, options, tmp_path, prefix):
    local = tmp_path / "local"
    local.mkdir()
    for name in ("a.npz", "b.npz"):
        (local / name).write_bytes(name.encode())
        client.put_object(Bucket=bucket, Key=f"d/{name}", Body=name.encode())
    for other in ("d/", "d/notes.txt", "d/deeper/c.npz", "dd.npz"):
        client.put_object(Bucket=bucket, Key=other, Body=b"other")
    fetched = fetch_data(f"s3://{bucket}/{prefix}", tmp_path / "cache", options=options)
    assert fetched.digest == fetch_data(str(local)).digest
    assert sorted(file.name for file in fetched.path.iterdir()) == ["a.npz", "b.npz"]


def test_equal_content_under_other_names_is_another_folder(client, bucket, options, tmp_path):
    for name in ("a/one.npz", "b/two.npz"):
        client.put_object(Bucket=bucket, Key=name, Body=b"same")
    folders = [fetch_data(f"s3://{bucket}/{key}/", tmp_path, options=options).path for key in "ab"]
    assert [[file.name for file in folder.iterdir()] for folder in folders] == [["one.npz"], ["two.npz"]]


def test_an_empty_prefix_is_refused(client, bucket, options, tmp_path):
    with pytest.raises(DataError, match=f"s3://{bucket}/nothing"):
        fetch_data(f"s3://{bucket}/nothing", tmp_path, options=options)
    with pytest.raises(InputError, match="the bucket does not exist"):
        fetch_data("s3://no-such-bucket/d/", tmp_path, options=options)


def test_a_registered_model_is_no_data():
    with pytest.raises(ConfigError, match="models:/net/1"):
        fetch_data("models:/net/1")


def test_what_is_larger_than_allowed_is_not_fetched(client, bucket, options, tmp_path):
    client.put_object(Bucket=bucket, Key="spec.yaml", Body=b"x" * 101)
    with pytest.raises(DataError, match="larger than 100 bytes, and is not fetched"):
        fetch_data(f"s3://{bucket}/spec.yaml", tmp_path / "cache", most_bytes=100, options=options)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.stat().st_size > 100]
    fetch_data(f"s3://{bucket}/spec.yaml", tmp_path / "cache", most_bytes=101, options=options)


@pytest.mark.parametrize(
    "key",
    ["data/../../../../x.json", "data//abs/path.json", "data/..", "data/a/b.npz", "elsewhere.npz", "data/a\0.npz"],
)
def test_a_listed_key_that_is_no_name_below_the_prefix_makes_no_path(key):
    """A server that honours the delimiter lists none of these."""
    pages = SimpleNamespace(
        paginate=lambda **_: [{"Contents": [{"Key": "data/"}, {"Key": "data/a.npz"}, {"Key": key}]}]
    )
    client = SimpleNamespace(meta=SimpleNamespace(endpoint_url="http://127.0.0.1:9"), get_paginator=lambda _: pages)
    with pytest.raises(InputError, match="not an object directly below it"):
        list_names(client, S3Location("bucket", "data/"))
