"""Invalid and dangerous model files are refused in one line that says what is wrong."""

import os
from functools import cache

import numpy as np
import onnx
import onnx.parser
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from autocast_core.errors import ModelError
from autocast_core.model import load_model, load_proto, save_model, weights_digest
from autocast_core.model.structure_digest import structure_digest
from autocast_core.verify import check_source, load_checked

SMALL = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[1,64] x) => (float[1,64] y) { k = Constant<value = float[2] {1, 2}> () z = MatMul (x, w) y = Relu (z) }"""


def refused(path, *parts):
    with pytest.raises(ModelError) as caught:
        load_model(path)
    message = str(caught.value)
    assert "\n" not in message
    for part in (str(path), *parts):
        assert part in message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "HTML"),
        (b"\n <html>", "HTML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "git lfs pull"),
        (b'{"error": "not found"}', "not an ONNX model"),
        (b"\x00" * 100, "not an ONNX model"),
        (bytes(range(256)) * 16, "not an ONNX model"),
        (b"\xff" * 64, "not an ONNX model"),
        (b"PK\x03\x04" + b"\x11" * 60, "not an ONNX model"),
    ],
)
def test_a_file_that_is_no_model_is_refused(tmp_path, content, says):
    (tmp_path / "m.onnx").write_bytes(content)
    refused(tmp_path / "m.onnx", says)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    refused(tmp_path / "none.onnx", "no such file")
    refused(tmp_path, "is a folder")


def test_a_named_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.onnx")
    refused(tmp_path / "pipe.onnx", "not a regular file")


def test_an_unreadable_name_is_refused():
    with pytest.raises(ModelError, match="cannot be read"):
        load_model("a\0b.onnx")


@cache
def small_model() -> bytes:
    model = onnx.parser.parse_model(SMALL)
    model.graph.initializer.append(numpy_helper.from_array(np.ones((64, 64), np.float32), "w"))
    return model.SerializeToString()


def test_a_model_cut_anywhere_is_refused_or_read(tmp_path):
    data = small_model()
    path = tmp_path / "m.onnx"
    for length in [*range(1, len(data), 97), *range(len(data) - 120, len(data))]:
        path.write_bytes(data[:length])
        try:
            load_model(path)
        except ModelError as error:
            assert "\n" not in str(error)


def exercise(path) -> None:
    """Everything that is done with a model before it is understood."""
    model = load_checked(path)
    check_source(model)
    structure_digest(model)
    weights_digest(model)
    save_model(model, path.with_name("copy.onnx"))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), max_size=6), st.integers(0, 700), st.booleans())
def test_a_damaged_model_is_refused_or_read_and_never_crashes(tmp_path, changes, cut, far_end):
    data = bytearray(small_model())
    for position, byte in changes:
        data[position - 700 if far_end and position < 700 else position % len(data)] = byte
    path = tmp_path / "m.onnx"
    path.write_bytes(data[: len(data) - cut] if cut % 3 == 0 else data)
    try:
        exercise(path)
    except ModelError as error:
        assert "\n" not in str(error)


def external(location: str, offset: str = "0", length: str = "16384") -> onnx.ModelProto:
    model = onnx.ModelProto.FromString(small_model())
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=value)
    return model


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("w.bin", "is missing"),
        ("", "no location"),
        ("/etc/passwd", "not inside"),
        ("../w.bin", "not inside"),
        ("sub/../../w.bin", "not inside"),
        ("C:\\w.bin", "not inside"),
        ("..\\w.bin", "not inside"),
        ("/dev/zero", "not inside"),
        ("a\0b", "not inside"),
        ("n" * 5000, "cannot be used"),
        ("folder", "not a regular file"),
        ("pipe", "not a regular file"),
        ("escape", "outside"),
        ("device", "outside"),
        ("out/w.bin", "outside"),
    ],
)
def test_external_data_outside_or_missing_are_refused(tmp_path, location, says):
    home = tmp_path / "home"
    home.mkdir()
    (home / "folder").mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(16384))
    (home / "escape").symlink_to("../w.bin")
    (home / "device").symlink_to("/dev/zero")
    (home / "out").symlink_to("..")
    os.mkfifo(home / "pipe")
    (home / "m.onnx").write_bytes(external(location).SerializeToString())
    refused(home / "m.onnx", "'w'", says)


@pytest.mark.parametrize(
    ("offset", "length", "says"),
    [("0", "16380", "16384"), ("1", "16384", "too short"), ("-4", "16384", "non-negative"), ("x", "16384", "invalid")],
)
def test_external_data_that_do_not_fit_are_refused(tmp_path, offset, length, says):
    (tmp_path / "w.bin").write_bytes(bytes(16384))
    (tmp_path / "m.onnx").write_bytes(external("w.bin", offset, length).SerializeToString())
    with pytest.raises(ModelError, match=says):
        load_model(tmp_path / "m.onnx")


def test_a_tensor_with_fewer_bytes_than_its_shape_says_is_named(tmp_path):
    model = onnx.ModelProto.FromString(small_model())
    for dims, raw in (([3], b"1234"), ([1 << 40, 1 << 40], b"1234"), ([0, 1 << 62, 1 << 62], b""), ([-1], b"")):
        del model.graph.initializer[1:]
        model.graph.initializer.add(name="broken", data_type=1, dims=dims, raw_data=raw)
        with pytest.raises(ModelError, match="tensor 'broken'"):
            load_proto(model)


def test_a_function_that_calls_itself_is_refused(tmp_path):
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17, "f" : 1]> g (float x) => (float y) { y = f.F (x) }
        <domain: "f", opset_import: ["" : 17, "f" : 1]> F (x) => (y) { z = Relu (x) y = f.F (z) }""")
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    refused(tmp_path / "m.onnx", "f:F calls itself")


def test_a_chain_of_five_thousand_functions_is_refused_for_its_depth(tmp_path):
    """Each is looked at once: with a look at all others for each, this took 20 s."""
    last = 5_000
    text = '<ir_version: 8, opset_import: ["" : 17, "f" : 1]> g (float x) => (float y) { y = f.F0 (x) }'
    bodies = [f"f.F{number + 1} (x)" if number < last else "Relu (x)" for number in range(last + 1)]
    text += "".join(
        f'<domain: "f", opset_import: ["" : 17, "f" : 1]> F{number} (x) => (y) {{ y = {body} }}'
        for number, body in enumerate(bodies)
    )
    (tmp_path / "m.onnx").write_bytes(onnx.parser.parse_model(text).SerializeToString())
    with pytest.raises(ModelError, match=r"depth exceeds limit \(100\)"):
        load_checked(tmp_path / "m.onnx")


def test_a_model_nested_too_deeply_is_refused(tmp_path):
    graph = onnx.helper.make_graph([], "inner", [], [])
    data = graph.SerializeToString()
    for _ in range(200):
        for number in (6, 5, 1):
            head = bytearray([number << 3 | 2])
            length = len(data)
            while length > 127:
                head.append(length & 127 | 128)
                length >>= 7
            head.append(length)
            data = bytes(head) + data + (b"\x12\x01n" if number == 1 else b"")
    model = onnx.ModelProto.FromString(small_model())
    whole = model.SerializeToString() + b"\x3a" + _varint(len(data)) + data
    (tmp_path / "m.onnx").write_bytes(whole)
    refused(tmp_path / "m.onnx")


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])
