"""What is refused before anything starts."""

import pytest

from autocast_core.errors import ConfigError, DataError, InputError, OutputError
from flows.request.preflight import check_request
from flows.request.spec import Spec


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"")
    return path


def test_a_good_request_passes(model, tmp_path):
    check_request(str(model), Spec(output=str(tmp_path / "new" / "folder")))
    check_request(str(model), Spec(output=str(tmp_path / "o.onnx"), calibration="s3://bucket/data.npz"))
    check_request("s3://bucket/model.onnx", Spec(output="s3://bucket/out/"))


@pytest.mark.parametrize(
    ("request_", "error", "message"),
    [
        ({"model": "none.onnx"}, InputError, "model none.onnx does not exist"),
        ({"model": "ftp://host/m.onnx"}, ConfigError, "ftp"),
        ({"calibration": "none.npz"}, DataError, "calibration data none.npz does not exist"),
        ({"evaluation": "none.npz"}, DataError, "evaluation data none.npz does not exist"),
        ({"output": "models:/a/1"}, ConfigError, "output models:/a/1"),
        ({"output": "no/such/folder/o.onnx"}, OutputError, "no folder"),
        ({"nodes_to_exclude": ("(",)}, ConfigError, "not a valid regular expression"),
    ],
)
def test_a_bad_request_is_refused_with_one_line(model, monkeypatch, tmp_path, request_, error, message):
    monkeypatch.chdir(tmp_path)
    options = {key: value for key, value in request_.items() if key != "model"}
    with pytest.raises(error, match=message) as caught:
        check_request(request_.get("model", str(model)), Spec(**options))
    assert "\n" not in str(caught.value)


def test_the_source_is_no_destination(model, tmp_path):
    with pytest.raises(OutputError, match="is the source itself"):
        check_request(str(model), Spec(output=str(tmp_path / "." / "m.onnx")))
    inside = tmp_path / "folder" / "model.onnx"
    inside.parent.mkdir()
    inside.write_bytes(b"")
    with pytest.raises(OutputError, match="is the source itself"):
        check_request(str(inside.parent), Spec(output=str(inside.parent)))


def test_a_file_in_the_way_of_a_folder_is_named(model):
    with pytest.raises(OutputError, match="is a file"):
        check_request(str(model), Spec(output=str(model / "deeper")))
