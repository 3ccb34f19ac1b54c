import threading

import pytest

from autocast_core.errors import ConfigError, InputError, OutputError, ServiceError
from tasks.storage.models import fetch_model
from tasks.storage.publication import Published, output_name, publish_files, take_back
from tasks.storage.uri import S3Location


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "work-plan.json"
    path.write_text("{}")
    return path


def keys(client, bucket):
    return sorted(entry["Key"] for entry in client.list_objects_v2(Bucket=bucket).get("Contents", []))


@pytest.mark.parametrize(
    ("destination", "name"),
    [
        ("out/net.onnx", "net.onnx"),
        ("out", "model.onnx"),
        ("s3://bucket/p/net.onnx", "net.onnx"),
        ("s3://bucket/p", "model.onnx"),
    ],
)
def test_the_model_is_named_by_the_destination(destination, name):
    assert output_name(destination) == name


@pytest.mark.parametrize("destination", ["models:/net/1", "s3://bucket/net.onnx?versionId=1", "http://host/net.onnx"])
def test_a_destination_that_takes_no_files_is_refused(destination):
    with pytest.raises(ConfigError):
        output_name(destination)


def test_a_local_file_is_byte_for_byte_the_model(write_model, tmp_path):
    model = write_model(tmp_path / "work" / "model.onnx")
    published = publish_files(model, str(tmp_path / "net.onnx"))
    assert (tmp_path / "net.onnx").read_bytes() == model.read_bytes()
    assert published.uri == str(tmp_path / "net.onnx")
    assert published.sha256 == fetch_model(str(model)).ref.digest == fetch_model(published.uri).ref.digest
    assert published.version_id is None


def test_a_local_folder_receives_model_data_and_plan(write_model, plan, tmp_path):
    model = write_model(tmp_path / "work" / "model.onnx", external=True)
    published = publish_files(model, str(tmp_path / "new" / "out"), plan=plan)
    out = tmp_path / "new" / "out"
    assert sorted(file.name for file in out.iterdir()) == ["model.onnx", "model.onnx.data", "plan.json"]
    assert fetch_model(str(out)).ref.digest == published.sha256
    assert published.files == tuple(str(out / name) for name in ("model.onnx.data", "plan.json", "model.onnx"))


def test_a_model_file_gets_no_plan_beside_it(write_model, plan, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    publish_files(write_model(tmp_path / "net.onnx", external=True), str(out / "net.onnx"), plan=plan)
    assert sorted(file.name for file in out.iterdir()) == ["net.onnx", "net.onnx.data"]


def test_external_data_under_another_name_are_refused(write_model, tmp_path):
    model = write_model(tmp_path / "model.onnx", external=True)
    with pytest.raises(OutputError, match=r"write it as net\.onnx"):
        publish_files(model, str(tmp_path / "net.onnx"))


def test_an_unwritable_output_leaves_nothing(write_model, tmp_path):
    model = write_model(tmp_path / "model.onnx")
    (tmp_path / "file").write_text("")
    for destination in (tmp_path / "file" / "out", tmp_path / "missing" / "net.onnx"):
        with pytest.raises(OutputError):
            publish_files(model, str(destination))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "model.onnx"]


def test_an_interrupted_copy_keeps_the_old_files(write_model, plan, tmp_path):
    out = tmp_path / "out"
    publish_files(write_model(tmp_path / "a" / "model.onnx", external=True, seed=1), str(out), plan=plan)
    before = {file.name: file.read_bytes() for file in out.iterdir()}

    def interrupt(step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        second = write_model(tmp_path / "b" / "model.onnx", external=True, seed=2)
        publish_files(second, str(out), plan=plan, progress=interrupt)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before


def test_an_s3_prefix_receives_the_same_bytes_with_their_sha256(client, bucket, options, write_model, plan, tmp_path):
    model = write_model(tmp_path / "work" / "model.onnx", external=True)
    published = publish_files(model, f"s3://{bucket}/out", plan=plan, options=options)
    assert keys(client, bucket) == ["out/model.onnx", "out/model.onnx.data", "out/plan.json"]
    local = publish_files(model, str(tmp_path / "out"), plan=plan)
    for name in ("model.onnx", "model.onnx.data", "plan.json"):
        answer = client.get_object(Bucket=bucket, Key=f"out/{name}")
        body = answer["Body"].read()
        assert body == (tmp_path / "out" / name).read_bytes()
        assert len(answer["Metadata"]["sha256"]) == 64
    assert published.uri == f"s3://{bucket}/out/model.onnx"
    assert published.sha256 == local.sha256
    assert fetch_model(published.uri, tmp_path / "cache", options=options).ref.digest == published.sha256


def test_a_versioned_bucket_tells_the_version(client, versioned_bucket, options, write_model, tmp_path):
    published = publish_files(write_model(tmp_path / "net.onnx"), f"s3://{versioned_bucket}/net.onnx", options=options)
    assert published.version_id == client.head_object(Bucket=versioned_bucket, Key="net.onnx")["VersionId"]
    assert published.files == (f"s3://{versioned_bucket}/net.onnx?versionId={published.version_id}",)


def test_a_large_file_is_uploaded_in_parts(client, bucket, options, write_model, tmp_path):
    model = write_model(tmp_path / "net.onnx", rows=80_000)
    assert model.stat().st_size > 16 << 20
    publish_files(model, f"s3://{bucket}/net.onnx", options=options)
    head = client.head_object(Bucket=bucket, Key="net.onnx")
    assert head["ETag"].strip('"').endswith("-2")
    assert head["ContentLength"] == model.stat().st_size
    assert client.get_object(Bucket=bucket, Key="net.onnx")["Body"].read() == model.read_bytes()


def test_publishing_the_same_again_changes_nothing(client, versioned_bucket, options, write_model, plan, tmp_path):
    model = write_model(tmp_path / "model.onnx", external=True)
    first = publish_files(model, f"s3://{versioned_bucket}/out/", plan=plan, options=options)
    assert publish_files(model, f"s3://{versioned_bucket}/out/", plan=plan, options=options) == first


def broken_upload(monkeypatch, name):
    """Uploads of objects whose key ends in `name` fail from here on."""
    import tasks.storage.objects.upload as upload

    original = upload._upload

    def upload_or_fail(client, file, location, *rest):
        if location.key.endswith(name):
            raise ServiceError(f"{location}: gone")
        return original(client, file, location, *rest)

    monkeypatch.setattr(upload, "_upload", upload_or_fail)


@pytest.mark.parametrize("name", ["model.onnx.data", "plan.json", "model.onnx"])
def test_a_failed_upload_leaves_no_object(client, bucket, options, write_model, plan, tmp_path, monkeypatch, name):
    model = write_model(tmp_path / "model.onnx", external=True)
    broken_upload(monkeypatch, name)
    with pytest.raises(ServiceError, match="gone"):
        publish_files(model, f"s3://{bucket}/out", plan=plan, options=options)
    assert keys(client, bucket) == []


def test_a_failed_upload_brings_the_old_versions_back(
    client, versioned_bucket, options, write_model, plan, tmp_path, monkeypatch
):
    old = write_model(tmp_path / "old" / "model.onnx", external=True, seed=1)
    first = publish_files(old, f"s3://{versioned_bucket}/out", plan=plan, options=options)
    broken_upload(monkeypatch, "model.onnx")
    with pytest.raises(ServiceError, match="gone"):
        new = write_model(tmp_path / "new" / "model.onnx", external=True, seed=2)
        publish_files(new, f"s3://{versioned_bucket}/out", plan=plan, options=options)
    assert fetch_model(first.uri, tmp_path / "cache", options=options).ref.digest == first.sha256
    assert client.head_object(Bucket=versioned_bucket, Key="out/model.onnx")["VersionId"] == first.version_id


def test_what_was_published_can_be_taken_back(client, bucket, versioned_bucket, options, write_model, plan, tmp_path):
    model = write_model(tmp_path / "model.onnx", external=True)
    take_back(publish_files(model, str(tmp_path / "out"), plan=plan))
    assert list((tmp_path / "out").iterdir()) == []
    take_back(publish_files(model, f"s3://{bucket}/out", plan=plan, options=options), options)
    assert keys(client, bucket) == []
    first = publish_files(model, f"s3://{versioned_bucket}/out", plan=plan, options=options)
    new = write_model(tmp_path / "new" / "model.onnx", external=True, seed=2)
    take_back(publish_files(new, f"s3://{versioned_bucket}/out", plan=plan, options=options), options)
    assert fetch_model(first.uri, tmp_path / "cache", options=options).ref.digest == first.sha256


def test_what_replaced_files_that_no_version_keeps_stays(client, bucket, options, write_model, tmp_path):
    for destination in (f"s3://{bucket}/out", str(tmp_path / "out")):
        publish_files(write_model(tmp_path / "old" / "model.onnx"), destination, options=options)
        new = publish_files(write_model(tmp_path / "new" / "model.onnx", seed=2), destination, options=options)
        take_back(new, options)
        assert fetch_model(new.uri, tmp_path / "cache", options=options).ref.digest == new.sha256


def test_an_old_model_is_never_seen_with_new_data(client, bucket, options, write_model, plan, tmp_path, monkeypatch):
    import tasks.storage.objects.upload as upload

    publish_files(write_model(tmp_path / "a" / "model.onnx", external=True), f"s3://{bucket}/out", options=options)
    seen, original = [], upload._upload

    def watched(*arguments):
        seen.append(keys(client, bucket))
        return original(*arguments)

    monkeypatch.setattr(upload, "_upload", watched)
    new = write_model(tmp_path / "b" / "model.onnx", external=True, rows=32)
    publish_files(new, f"s3://{bucket}/out", options=options)
    assert all("out/model.onnx" not in present for present in seen)
    assert keys(client, bucket) == ["out/model.onnx", "out/model.onnx.data"]


def test_what_arrives_differently_is_taken_back(client, bucket, options, write_model, tmp_path, monkeypatch):
    import dataclasses

    import tasks.storage.objects.upload as upload

    original = upload.pin
    monkeypatch.setattr(upload, "pin", lambda *arguments: dataclasses.replace(original(*arguments), size=1))
    with pytest.raises(ServiceError, match="not what was sent"):
        publish_files(write_model(tmp_path / "net.onnx"), f"s3://{bucket}/net.onnx", options=options)
    assert keys(client, bucket) == []


def test_a_wrong_bucket_is_an_input_error(client, options, write_model, tmp_path):
    with pytest.raises(InputError, match="the bucket does not exist"):
        publish_files(write_model(tmp_path / "net.onnx"), "s3://no-such-bucket/net.onnx", options=options)


def test_published_survives_json():
    published = Published(str(S3Location("b", "k")), "0" * 64, None, ("s3://b/k",))
    assert Published.from_json(published.to_json()) == published


def test_two_runs_with_one_destination_never_mix_their_files(write_model, tmp_path):
    """While one writes, the other waits."""
    from autocast_core.process.file_lock import folder_lock

    models = [write_model(tmp_path / name / "model.onnx") for name in ("a", "b")]
    out, ended = tmp_path / "out", []
    publish_files(models[0], str(out))
    thread = threading.Thread(target=lambda: ended.append(publish_files(models[1], str(out))))
    with folder_lock(out):
        thread.start()
        thread.join(0.3)
        assert ended == []
    thread.join()
    assert len(ended) == 1
