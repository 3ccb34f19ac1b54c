"""Bad input: one line that says what is wrong, where, and what to do; nothing written, nothing registered."""

import os
import pickle
import zipfile

import numpy as np
import onnx
import pytest

from autocast_core.errors import InputError
from tests.flows.conversions import batches, convert, mlp, registered, runs_of

pytestmark = pytest.mark.xdist_group("prefect")


def refused(workplace, model, message, **options):
    """The run with `options` fails with InputError `message`, and leaves a failed run with the reason, nothing else."""
    output = workplace / "out"
    with pytest.raises(InputError, match=message) as caught:
        convert(model, output=output, allow_random=True, name=workplace.name, **options)
    text = str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in text and len(text) < 600
    assert not output.exists() or not any(output.iterdir())
    assert registered(workplace.name) == []
    run = runs_of(model)[0]
    assert run.info.status == "FAILED"
    assert run.data.tags["autocast.failure"] == " ".join(text.split())
    assert not any((workplace / ".autocast" / "work").glob("*"))


def test_a_missing_model(workplace):
    refused(workplace, workplace / "none.onnx", "does not exist")


def test_an_html_page(workplace):
    page = workplace / "page.onnx"
    page.write_text("<!DOCTYPE html><html><body>Not found</body></html>")
    refused(workplace, page, "HTML")


def test_a_truncated_protobuf(workplace):
    model = mlp(workplace / "cut.onnx")
    model.write_bytes(model.read_bytes()[:-100])
    refused(workplace, model, "cut.onnx")


def test_missing_external_data(workplace):
    model = external(workplace, "weights.bin")
    (workplace / "weights.bin").unlink()
    refused(workplace, model, "weights.bin")


def test_external_data_outside_the_models_folder(workplace):
    model = external(workplace, "weights.bin")
    text = model.read_bytes().replace(b"weights.bin", b"../mine.bin")
    model.write_bytes(text)
    (workplace.parent / "mine.bin").write_bytes(bytes(1024))
    refused(workplace, model, r"\.\./mine\.bin")


def external(workplace, location):
    proto = onnx.load(mlp(workplace / "whole.onnx"))
    for tensor in proto.graph.initializer:
        # Only raw data goes to a file.
        tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name))
    path = workplace / "external.onnx"
    onnx.save_model(proto, path, save_as_external_data=True, location=location, size_threshold=0)
    return path


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"wrong": np.zeros((2, 8), "f4")}, "x"),
        ({"x": np.zeros((2, 2, 8), "f4")}, "x"),
        ({"x": np.zeros((2, 9), "f4")}, "x"),
        ({"x": np.array([["a"] * 8])}, "x"),
    ],
    ids=["names", "rank", "shape", "type"],
)
def test_calibration_data_that_does_not_fit(workplace, arrays, message):
    refused(workplace, mlp(workplace / "m.onnx"), message, calibration=batches(workplace / "d.npz", **arrays))


def test_pickled_content_is_never_unpickled(workplace):
    class Mine:
        def __reduce__(self):
            return (os.mkdir, (str(workplace / "unpickled"),))

    data = workplace / "evil.npz"
    with zipfile.ZipFile(data, "w") as archive:
        header = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little")
        described = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
        archive.writestr(
            "x.npy", header + described.ljust(117) + b"\n" + pickle.dumps(np.array([Mine()], dtype=object))
        )
    refused(workplace, mlp(workplace / "m.onnx"), "evil.npz", calibration=data)
    assert not (workplace / "unpickled").exists()


def test_an_empty_data_folder(workplace):
    (workplace / "empty").mkdir()
    refused(workplace, mlp(workplace / "m.onnx"), "empty", calibration=workplace / "empty")


def test_a_pattern_that_does_not_compile(workplace):
    refused(workplace, mlp(workplace / "m.onnx"), "not a valid regular expression", nodes_to_exclude=("(",))


def test_an_output_that_cannot_be_written(workplace):
    model, file = mlp(workplace / "m.onnx"), workplace / "file"
    file.write_text("in the way")
    with pytest.raises(InputError, match="file"):
        convert(model, output=file / "deeper", allow_random=True, name=workplace.name)
    assert file.read_text() == "in the way"
    assert registered(workplace.name) == []
    assert runs_of(model)[0].info.status == "FAILED"


def test_evaluation_data_that_does_not_fit(workplace):
    data = batches(workplace / "d.npz", wrong=np.zeros((2, 8), "f4"))
    refused(workplace, mlp(workplace / "m.onnx"), "x", evaluation=data)


def test_bad_input_is_never_tried_again(workplace, monkeypatch):
    import tasks.stages.fetch

    tries, fetch = [], tasks.stages.fetch.fetch_model
    monkeypatch.setattr(
        tasks.stages.fetch, "fetch_model", lambda *args, **options: tries.append(1) or fetch(*args, **options)
    )
    model = workplace / "never.onnx"
    model.write_text("<html></html>")
    refused(workplace, model, "HTML")
    assert tries == [1]
