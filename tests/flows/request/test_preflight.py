"""What is refused before anything starts."""

import numpy as np
import onnx
import pytest

from autocast_core.errors import ConfigError, DataError, InputError, ModelError, OutputError
from flows.request.preflight import check_inputs, check_inputs_stay, check_request
from flows.request.spec import Spec
from tests.tasks.storage.conftest import bucket, client, no_aws, s3_endpoint  # noqa: F401 - used as fixtures


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


@pytest.fixture
def relu(tmp_path):
    """A model that takes two samples of four numbers."""
    path = tmp_path / "relu.onnx"
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }'
    onnx.save(onnx.parser.parse_model(text), path)
    return path


def data(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


@pytest.mark.parametrize("option", ["calibration", "evaluation"])
@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"other": np.zeros((2, 4), "f4")}, "no array 'x'"),
        ({"x": np.zeros((2, 4, 1), "f4")}, "x"),
        ({"x": np.zeros((2, 5), "f4")}, "x"),
        ({"x": np.array([["a"] * 4])}, "x"),
    ],
    ids=["name", "rank", "shape", "type"],
)
def test_data_that_does_not_fit_is_refused_from_its_headers(relu, tmp_path, option, arrays, message):
    with pytest.raises(DataError, match=message) as caught:
        check_inputs(str(relu), Spec(**{option: data(tmp_path / "d.npz", **arrays)}), judged=True)
    assert "\n" not in str(caught.value)


def test_data_that_fits_passes_although_its_arrays_are_not_read(relu, tmp_path):
    found = data(tmp_path / "d.npz", x=np.full((6, 4), np.nan, "f4"))
    check_inputs(str(relu), Spec(calibration=found, allow_nonfinite=False), judged=True)


def test_what_is_ignored_of_the_data_is_said_before_a_flow_and_its_log_file_begin(relu, tmp_path, caplog):
    found = data(tmp_path / "d.npz", x=np.zeros((2, 4), "f4"), label=np.zeros(2))
    check_inputs(str(relu), Spec(calibration=found), judged=True)
    assert caplog.messages == [f"{found}: array 'label' is not an input of the model and is ignored"]


def test_a_model_that_is_no_onnx_is_refused(tmp_path):
    page = tmp_path / "page.onnx"
    page.write_text("<html></html>")
    with pytest.raises(ModelError, match="HTML"):
        check_inputs(str(page), Spec(allow_random=True), judged=True)


def test_files_that_only_an_isolated_process_may_read_are_not_read(tmp_path):
    page = tmp_path / "page.onnx"
    page.write_text("<html></html>")
    check_inputs(str(page), Spec(allow_random=True, isolation="process"), judged=True)


def test_what_is_to_be_judged_needs_data(relu):
    with pytest.raises(DataError, match="no data to judge the converted model on: give --evaluation or --calibration"):
        check_inputs(str(relu), Spec(), judged=True)
    check_inputs(str(relu), Spec(), judged=False)
    check_inputs(str(relu), Spec(allow_random=True), judged=True)


@pytest.mark.parametrize("option", ["output", "calibration"])
def test_a_bucket_that_is_not_there_is_named(relu, bucket, option):  # noqa: F811
    spec = Spec(**{option: "s3://no-such-bucket/folder/"}, allow_random=True)
    with pytest.raises(InputError, match="there is no bucket no-such-bucket"):
        check_inputs(str(relu), spec, judged=True)


def test_objects_and_buckets_that_are_there_pass(relu, bucket, client):  # noqa: F811
    client.put_object(Bucket=bucket, Key="m.onnx", Body=b"")
    check_inputs(f"s3://{bucket}/m.onnx", Spec(output=f"s3://{bucket}/out/", allow_random=True), judged=True)


def test_missing_credentials_are_named(relu, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(relu.with_name("none")))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="credentials are missing"):
        check_inputs(str(relu), Spec(output="s3://bucket/x", allow_random=True), judged=True)
