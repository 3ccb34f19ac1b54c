from pathlib import Path

import pytest

from autocast_core.errors import ConfigError
from tasks.storage.uri import LocalLocation, RegistryLocation, S3Location, parse_uri


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("models/a.onnx", LocalLocation(Path("models/a.onnx"))),
        ("/data/a b.onnx", LocalLocation(Path("/data/a b.onnx"))),
        ("file:///data/a%20b.onnx", LocalLocation(Path("/data/a b.onnx"))),
        ("file://localhost/data/a.onnx", LocalLocation(Path("/data/a.onnx"))),
        ("s3://bucket/a/b.onnx", S3Location("bucket", "a/b.onnx")),
        ("s3://bucket/a%20b", S3Location("bucket", "a%20b")),
        ("s3://bucket/what?.onnx", S3Location("bucket", "what?.onnx")),
        ("s3://bucket/a.onnx?versionId=x.Y-_1", S3Location("bucket", "a.onnx", "x.Y-_1")),
        ("s3://bucket/a/", S3Location("bucket", "a/")),
        ("s3://bucket", S3Location("bucket", "")),
        ("models:/resnet/3", RegistryLocation("resnet", version="3")),
        ("models:/resnet v2@champion", RegistryLocation("resnet v2", alias="champion")),
    ],
)
def test_a_location_is_read_as_written(text, location):
    assert parse_uri(text) == location


@pytest.mark.parametrize(
    "text", ["s3://bucket/a.onnx?versionId=x", "s3://bucket/a/", "models:/a/3", "models:/a@b", "a/b"]
)
def test_a_location_prints_as_it_was_read(text):
    assert str(parse_uri(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "a\0b",
        "http://host/a.onnx",
        "gs://bucket/a",
        "file://relative/a.onnx",
        "s3://",
        "s3:///key",
        "s3://a b/key",
        "s3://bucket/a.onnx?version=3",
        "s3://bucket/a/?versionId=x",
        "models:/resnet",
        "models:/resnet/latest",
        "models:/resnet/3/extra",
        "models:/resnet@",
        "models://resnet/3",
        "file://[",
        "file:///a%00b",
        "~nobody-of-this-name/a.onnx",
        "\ud800",
    ],
)
def test_a_malformed_location_is_refused_in_one_line(text):
    with pytest.raises(ConfigError) as error:
        parse_uri(text)
    assert "\n" not in str(error.value)


def test_names_beside_and_under_a_key_stay_in_its_prefix():
    assert S3Location("b", "p/m.onnx").beside("w.data") == S3Location("b", "p/w.data")
    assert S3Location("b", "m.onnx").beside("w.data") == S3Location("b", "w.data")
    assert S3Location("b", "p").under("m.onnx") == S3Location("b", "p/").under("m.onnx") == S3Location("b", "p/m.onnx")
    assert S3Location("b", "").under("m.onnx") == S3Location("b", "m.onnx")


def test_a_location_longer_than_any_path_is_refused():
    for text in ("a" * 300, "file:///" + "a" * 300, "s3://bucket/" + "a" * 5000):
        with pytest.raises(ConfigError, match="too long"):
            parse_uri(text)
