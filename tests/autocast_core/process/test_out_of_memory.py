"""Memory that ran out is told in one line, whoever failed to get it."""

import numpy as np
import onnx
import pytest

from autocast_core.__main__ import command
from autocast_core.errors import BackendError, ConfigError, InputError
from autocast_core.process.out_of_memory import is_out_of_memory, out_of_memory_told


def raised(error, cause=None):
    with pytest.raises(Exception) as caught, out_of_memory_told():
        raise error from cause
    return caught.value


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (MemoryError(), None),
        (RuntimeError("std::bad_alloc"), None),
        (ValueError("cannot read"), MemoryError()),
        (BackendError("ONNX Runtime refuses the model: std::bad_alloc"), RuntimeError("std::bad_alloc")),
    ],
)
def test_a_failed_allocation_is_an_input_error(error, cause):
    found = raised(error, cause)
    assert isinstance(found, InputError) and str(found).startswith("memory ran out: give smaller batches")
    assert found.__cause__ is error


def test_an_array_that_numpy_cannot_make_is_a_failed_allocation():
    with pytest.raises(InputError, match="memory ran out"), out_of_memory_told():
        np.empty(1 << 60, np.uint8)


@pytest.mark.parametrize("error", [ValueError("bad_alloc.onnx: no such node"), ConfigError("bad_alloc")])
def test_a_name_that_says_so_is_none(error):
    assert raised(error) is error
    assert not is_out_of_memory(error)


def test_the_converters_command_ends_with_one_line(tmp_path, capsys, monkeypatch):
    from autocast_core.pipeline import convert

    def fail(*_, **__):
        raise MemoryError

    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[4] x) => (float[4] y) { y = Relu(x) }'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "m.onnx")
    monkeypatch.setattr(convert, "convert_file", fail)
    assert command(["--onnx_path", str(tmp_path / "m.onnx")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: memory ran out") and said.count("\n") == 1
