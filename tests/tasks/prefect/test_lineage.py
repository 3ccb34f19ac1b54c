import pytest

from tasks.prefect.lineage import asset_key


@pytest.mark.parametrize(
    ("uri", "key"),
    [
        ("s3://bucket/k/model.onnx?versionId=7", "s3://bucket/k/model.onnx"),
        ("models:/bert/3", "models://bert/3"),
        ("models:/bert@champion", "models://bert/champion"),
        ("/data/model.onnx", "file:///data/model.onnx"),
    ],
)
def test_an_asset_is_named_by_its_location_without_its_version(uri, key):
    from prefect.assets import Asset

    assert Asset(key=asset_key(uri)).key == key
