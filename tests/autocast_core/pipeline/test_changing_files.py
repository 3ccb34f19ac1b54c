"""Files that change, vanish or cannot be written while a whole conversion runs."""

import collections
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from autocast_core import convert_file
from autocast_core.errors import ModelError, OutputError
from autocast_core.progress import Progress

SIZE = 64
X = np.ones((1, SIZE), np.float32)
TEXT = (
    f"""<ir_version: 8, opset_import: ["": 17]> g (float[1,{SIZE}] x) => (float[1,{SIZE}] y) {{ y = MatMul(x, w) }}"""
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A model in a folder of its own, its weight of 16 KiB beside it in w.bin."""
    model = onnx.parser.parse_model(TEXT)
    weight = np.eye(SIZE, dtype=np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "m.onnx"
    onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    return path


def at(stage: str, action: Callable[[], object]) -> Callable[[Progress], None]:
    """A progress callback that acts when `stage` begins."""

    def act(progress: Progress) -> None:
        if progress.stage == stage and not progress.done:
            action()

    return act


@pytest.mark.parametrize("stage", ["calibrate", "decide", "write"])
def test_external_data_that_vanish_are_named_with_the_tensor(source: Path, tmp_path: Path, stage: str):
    data = source.with_name("w.bin")
    with pytest.raises(ModelError, match=r"w\.bin: cannot read tensor 'w'"):
        convert_file(source, tmp_path / "o.onnx", calibration={"x": X}, progress=at(stage, lambda: data.unlink(True)))
    assert not (tmp_path / "o.onnx").exists()


@pytest.mark.parametrize("stage", ["decide", "write"])
def test_external_data_that_change_are_named(source: Path, tmp_path: Path, stage: str):
    data = source.with_name("w.bin")
    with pytest.raises(ModelError, match=r"w\.bin: the file changed while tensor 'w' was to be read"):
        convert_file(
            source, tmp_path / "o.onnx", calibration={"x": X}, progress=at(stage, lambda: data.write_bytes(b"short"))
        )
    assert not (tmp_path / "o.onnx").exists()


def test_a_full_disk_is_said_with_the_bytes_needed_and_free(source: Path, tmp_path: Path, monkeypatch):
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10000, 9000, 1000))
    with pytest.raises(OutputError, match=r"the disk is full: \d{4} bytes are needed, 1000 are free"):
        convert_file(source, tmp_path / "o.onnx", calibration={"x": X})
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
