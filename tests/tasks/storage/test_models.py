import hashlib
import threading

import numpy as np
import onnx
import pytest

from autocast_core.errors import ConfigError, InputError, ModelError, ServiceError
from autocast_core.process.cache_folder import default_cache_folder
from tasks.storage.cache import Cache, CachedFile
from tasks.storage.models import Fetched, fetch_model


def test_a_local_model_is_used_where_it_is(write_model, tmp_path):
    path = write_model(tmp_path / "net.onnx")
    fetched = fetch_model(str(path), tmp_path / "cache")
    assert fetched.ref.path == path
    assert fetched.ref.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert fetched.stem == "net"
    assert fetched.registered_name is None
    assert not (tmp_path / "cache").exists()


def test_a_relative_path_and_a_file_uri_give_the_same_model(write_model, tmp_path, monkeypatch):
    path = write_model(tmp_path / "net.onnx", external=True)
    monkeypatch.chdir(tmp_path)
    assert fetch_model("net.onnx") == fetch_model(path.as_uri()) == fetch_model(str(path))


def test_a_local_folder_with_a_model_is_a_model(write_model, tmp_path):
    path = write_model(tmp_path / "net" / "model.onnx")
    assert fetch_model(str(tmp_path / "net")).ref.path == path


@pytest.mark.parametrize("name", ["missing.onnx", "empty"])
def test_a_path_without_a_model_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=name):
        fetch_model(str(tmp_path / name))


def test_an_s3_model_equals_the_file_that_was_uploaded(client, bucket, options, write_model, tmp_path):
    path = write_model(tmp_path / "net.onnx", rows=2048)
    client.upload_file(str(path), bucket, "models/net.onnx")
    seen = []
    fetched = fetch_model(f"s3://{bucket}/models/net.onnx", tmp_path / "cache", options=options, progress=seen.append)
    assert fetched.ref.path.read_bytes() == path.read_bytes()
    assert fetched.ref.digest == fetch_model(str(path)).ref.digest
    assert fetched.uri_pinned == f"s3://{bucket}/models/net.onnx"
    assert fetched.stem == "net"
    assert [step.done for step in seen] == sorted(step.done for step in seen)
    assert seen[-1].done == seen[-1].total == path.stat().st_size
    assert not list((tmp_path / "cache" / "parts").iterdir())


@pytest.mark.parametrize("uri", ["s3://{}/net/", "s3://{}/net", "s3://{}/net/model.onnx"])
def test_a_prefix_with_a_model_is_a_model(client, bucket, options, write_model, tmp_path, uri):
    path = write_model(tmp_path / "model.onnx")
    client.upload_file(str(path), bucket, "net/model.onnx")
    fetched = fetch_model(uri.format(bucket), tmp_path / "cache", options=options)
    assert fetched.ref.path.read_bytes() == path.read_bytes()
    assert fetched.uri_pinned == f"s3://{bucket}/net/model.onnx"


def test_external_data_come_with_the_model_and_load(client, bucket, options, write_model, tmp_path):
    path = write_model(tmp_path / "net.onnx", external=True, seed=3)
    client.upload_file(str(path), bucket, "p/net.onnx")
    client.upload_file(f"{path}.data", bucket, "p/net.onnx.data")
    fetched = fetch_model(f"s3://{bucket}/p/net.onnx", tmp_path / "cache", options=options)
    assert fetched.ref.digest == fetch_model(str(path)).ref.digest
    loaded = onnx.load_model(fetched.ref.path)
    expected = np.random.default_rng(3).standard_normal((64, 64)).astype(np.float32)
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(loaded.graph.initializer[0]), expected)
    assert all(not file.is_symlink() and file.stat().st_nlink == 1 for file in fetched.ref.path.parent.iterdir())


def test_two_models_may_share_their_external_data(client, bucket, options, write_model, tmp_path):
    path = write_model(tmp_path / "a.onnx", external=True)
    client.upload_file(f"{path}.data", bucket, "a.onnx.data")
    client.upload_file(str(path), bucket, "a.onnx")
    client.put_object(Bucket=bucket, Key="b.onnx", Body=path.read_bytes() + b"\x1a\x01b")  # a doc_string field
    first = fetch_model(f"s3://{bucket}/a.onnx", tmp_path / "cache", options=options)
    second = fetch_model(f"s3://{bucket}/b.onnx", tmp_path / "cache", options=options)
    assert first.ref.digest != second.ref.digest
    for fetched in (first, second):
        assert (fetched.ref.path.parent / "a.onnx.data").read_bytes() == (tmp_path / "a.onnx.data").read_bytes()


@pytest.mark.parametrize("location", ["../net.onnx.data", "/etc/passwd", "a/../../secret", "C:\\secret", "..\\secret"])
def test_external_data_outside_the_prefix_are_never_asked_for(client, bucket, options, write_model, tmp_path, location):
    path = write_model(tmp_path / "net.onnx", external=True, location=location)
    client.upload_file(str(path), bucket, "p/net.onnx")
    with pytest.raises(ModelError, match="not inside the model's folder"):
        fetch_model(f"s3://{bucket}/p/net.onnx", tmp_path / "cache", options=options)


def test_data_below_the_models_own_name_are_refused(client, bucket, options, write_model, tmp_path):
    """Object stores have both keys, file systems no file that is a folder too."""
    path = write_model(tmp_path / "net.onnx", external=True, location="net.onnx/w.bin")
    client.upload_file(str(path), bucket, "p/net.onnx")
    client.upload_file(f"{path}.data", bucket, "p/net.onnx/w.bin")
    with pytest.raises(InputError, match="below the name of another file"):
        fetch_model(f"s3://{bucket}/p/net.onnx", tmp_path / "cache", options=options)


def test_missing_external_data_are_named(client, bucket, options, write_model, tmp_path):
    client.upload_file(str(write_model(tmp_path / "net.onnx", external=True)), bucket, "p/net.onnx")
    with pytest.raises(ModelError, match=rf"s3://{bucket}/p/net\.onnx\.data is missing"):
        fetch_model(f"s3://{bucket}/p/net.onnx", tmp_path / "cache", options=options)


def test_an_html_page_is_no_model(client, bucket, options, tmp_path):
    client.put_object(Bucket=bucket, Key="net.onnx", Body=b"<!DOCTYPE html><html>Not found</html>")
    with pytest.raises(ModelError, match=f"s3://{bucket}/net.onnx"):
        fetch_model(f"s3://{bucket}/net.onnx", tmp_path / "cache", options=options)


def test_a_version_stays_what_it_was(client, versioned_bucket, options, write_model, tmp_path):
    paths = [write_model(tmp_path / f"{seed}.onnx", seed=seed) for seed in (1, 2)]
    first = client.put_object(Bucket=versioned_bucket, Key="net.onnx", Body=paths[0].read_bytes())["VersionId"]
    client.put_object(Bucket=versioned_bucket, Key="net.onnx", Body=paths[1].read_bytes())
    old = fetch_model(f"s3://{versioned_bucket}/net.onnx?versionId={first}", tmp_path / "cache", options=options)
    new = fetch_model(f"s3://{versioned_bucket}/net.onnx", tmp_path / "cache", options=options)
    assert old.uri_pinned.endswith(f"?versionId={first}")
    assert "?versionId=" in new.uri_pinned
    assert old.ref.path.read_bytes() == paths[0].read_bytes()
    assert new.ref.path.read_bytes() == paths[1].read_bytes()


def test_a_replaced_object_is_fetched_anew(client, bucket, options, write_model, tmp_path):
    for seed in (1, 2):
        path = write_model(tmp_path / "net.onnx", seed=seed)
        client.upload_file(str(path), bucket, "net.onnx")
        fetched = fetch_model(f"s3://{bucket}/net.onnx", tmp_path / "cache", options=options)
        assert fetched.ref.path.read_bytes() == path.read_bytes()


def test_a_fetched_model_is_not_transferred_again(client, bucket, options, write_model, tmp_path, monkeypatch):
    client.upload_file(str(write_model(tmp_path / "net.onnx")), bucket, "net.onnx")
    first = fetch_model(f"s3://{bucket}/net.onnx", tmp_path / "cache", options=options)
    monkeypatch.setattr("tasks.storage.objects.download._transfer", lambda *_: pytest.fail("transferred again"))
    assert fetch_model(f"s3://{bucket}/net.onnx", tmp_path / "cache", options=options) == first


def test_a_damaged_cache_is_repaired(client, bucket, options, write_model, tmp_path):
    path = write_model(tmp_path / "net.onnx")
    client.upload_file(str(path), bucket, "net.onnx")
    first = fetch_model(f"s3://{bucket}/net.onnx", tmp_path / "cache", options=options)
    first.ref.path.write_bytes(b"x" * path.stat().st_size)
    second = fetch_model(f"s3://{bucket}/net.onnx", tmp_path / "cache", options=options)
    assert second == first
    assert second.ref.path.read_bytes() == path.read_bytes()


def test_threads_that_fetch_the_same_model_at_once_all_get_it(client, bucket, options, write_model, tmp_path):
    path = write_model(tmp_path / "net.onnx", rows=2048, external=True)
    client.upload_file(str(path), bucket, "net.onnx")
    client.upload_file(f"{path}.data", bucket, "net.onnx.data")
    results: list[Fetched] = []
    threads = [
        threading.Thread(
            target=lambda: results.append(fetch_model(f"s3://{bucket}/net.onnx", tmp_path / "cache", options=options))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert {fetched.ref.digest for fetched in results} == {fetch_model(str(path)).ref.digest}
    assert len(list((tmp_path / "cache" / "models").iterdir())) == 1


def test_fetched_survives_json(write_model, tmp_path):
    fetched = fetch_model(str(write_model(tmp_path / "net.onnx")))
    assert Fetched.from_json(fetched.to_json()) == fetched


def test_the_default_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("AUTOCAST_CACHE", raising=False)
    assert default_cache_folder() == tmp_path / "xdg" / "autocast"
    monkeypatch.setenv("AUTOCAST_CACHE", str(tmp_path / "mine"))
    assert default_cache_folder() == tmp_path / "mine"


def test_a_cache_that_cannot_be_made_is_an_input_error(bucket, options, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="AUTOCAST_CACHE"):
        fetch_model(f"s3://{bucket}/net.onnx", tmp_path / "file" / "cache", options=options)


def test_a_wrong_scheme_and_a_server_that_is_down_differ_in_kind(no_aws, monkeypatch, options, tmp_path):
    with pytest.raises(ConfigError):
        fetch_model("gs://bucket/net.onnx")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with pytest.raises(ServiceError, match=r"127\.0\.0\.1:9"):
        fetch_model("s3://bucket/net.onnx", tmp_path / "cache", options=options)


def test_a_file_that_another_run_is_moving_to_its_place_is_waited_for(tmp_path):
    cache = Cache.open(tmp_path / "cache")
    part = cache.part("reference")
    part.write_bytes(b"content")
    cache.remember("reference", CachedFile(part, "00"))
    placed, found = cache.root / "models" / "placed", []
    with cache.locked("reference"):
        part.replace(placed)
        waiting = threading.Thread(target=lambda: found.append(cache.place("models", {"m.onnx": "reference"})))
        waiting.start()
        waiting.join(0.3)
        cache.remember("reference", CachedFile(placed, "00"))
    waiting.join(30)
    assert (found[0][0] / "m.onnx").read_bytes() == b"content"
