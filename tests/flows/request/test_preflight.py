"""What is refused before anything starts."""

import onnx
import pytest

from autocast_core.errors import ConfigError, DataError, InputError, OutputError
from flows.request.preflight import check_inputs_stay, check_request
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


@pytest.mark.parametrize("kind", ["link", "device"])
def test_a_link_or_device_is_no_destination(model, tmp_path, kind):
    (tmp_path / "out.onnx").symlink_to(tmp_path / "elsewhere")
    target, said = {"link": (str(tmp_path / "out.onnx"), "is a link"), "device": ("/dev/null", "is a file")}[kind]
    with pytest.raises(OutputError, match=said):
        check_request(str(model), Spec(output=target))


@pytest.mark.parametrize(
    "output",
    ["weights.onnx", "external.onnx", "data/a.onnx", "elsewhere"],
    ids=["external data", "model", "data", "plan.json in a folder of data"],
)
def test_no_file_that_is_read_is_a_destination(tmp_path, output):
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> { y = Add(x, w) }'
    )
    (weights,) = model.graph.initializer
    weights.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weights), weights.name))
    onnx.external_data_helper.convert_model_to_external_data(model, location="weights.onnx", size_threshold=0)
    onnx.save(model, tmp_path / "external.onnx")
    for folder in ("data", "elsewhere"):
        (tmp_path / folder).mkdir()
    (tmp_path / "data" / "a.onnx").touch()
    (tmp_path / "elsewhere" / "plan.json").touch()
    data = (tmp_path / "data", tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="would be replaced"):
        check_inputs_stay(str(tmp_path / output), tmp_path / "external.onnx", data)
    check_inputs_stay(str(tmp_path / "new"), tmp_path / "external.onnx", data)
    check_inputs_stay("s3://bucket/weights.onnx", tmp_path / "external.onnx", data)
