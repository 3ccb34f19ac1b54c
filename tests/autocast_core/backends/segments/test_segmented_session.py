"""Running in segments: the outputs are those of the whole model, and the disk and the memory are asked first."""

import shutil
import tempfile
from collections import namedtuple
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from autocast_core.backends.onnxruntime import OnnxRuntime
from autocast_core.backends.segments import SegmentedRuntime
from autocast_core.errors import BackendError, DataError, OutputError
from autocast_core.runtime import Session
from tests.autocast_core.backends.segments.test_cut_graph import ROW, SQUARES, model_of

CPU = OnnxRuntime(threads=1)
DATA = [{"x": np.random.default_rng(n).standard_normal((n + 1, 4), np.float32)} for n in range(3)]
Usage = namedtuple("Usage", ["total", "used", "free"])


class Counting:
    """ONNX Runtime, and the models that it opened."""

    name = "counting"

    def __init__(self) -> None:
        self.opened: list[ir.Model] = []

    def open(self, model: ir.Model, **options) -> Session:
        self.opened.append(model)
        return CPU.open(model, **options)


def outputs(model: ir.Model, parts: int, data=DATA, **options) -> list[list[np.ndarray]]:
    session = SegmentedRuntime(CPU, parts).open(model, exact=True, batches=data, **options)
    try:
        return [session.run(feeds) for feeds in data]
    finally:
        session.close()


def assert_same(model: ir.Model, data=DATA) -> None:
    for whole, cut in zip(outputs(model, 1, data), outputs(model, 3, data), strict=True):
        for left, right in zip(whole, cut, strict=True):
            np.testing.assert_array_equal(left, right)
            assert np.asarray(left).dtype == np.asarray(right).dtype


def test_outputs_are_bit_equal_to_the_whole_models() -> None:
    assert_same(model_of(ROW, **SQUARES))


def test_every_batch_goes_through_a_segment_before_the_next_is_opened() -> None:
    runtime, seen = Counting(), []
    batches = [{"x": np.ones((1, 4), np.float32)}] * 5
    session = SegmentedRuntime(runtime, 4, seen.append).open(model_of(ROW, **SQUARES), exact=True, batches=batches)
    assert (len(runtime.opened), session.backend) == (1, "onnxruntime-cpu")
    for feeds in batches:
        session.run(feeds)
    assert len(runtime.opened) == 4
    assert [(p.stage, p.done, p.total) for p in seen] == [("segments", n, 20.0) for n in range(21)]
    with pytest.raises(BackendError, match="has run on all batches"):
        session.run(batches[0])


def test_random_numbers_are_those_of_the_whole_model() -> None:
    text = ROW.replace("[r1] b1 = Relu(a1)", "[n] n1 = RandomNormalLike(a1) [r1] b1 = Add(a1, n1)").replace(
        "[r2] b2 = Relu(a2)", "[u] n2 = RandomUniformLike(a2) [r2] b2 = Add(a2, n2)"
    )
    assert_same(model_of(text, **SQUARES), DATA[:1])


def test_sequences_texts_and_bfloat16_cross() -> None:
    text = """g (float[N, 4] x, string[2] t) => (float[N, 4] y, string[2] u, bfloat16[N, 4] h)
    <float[4, 4] w0, float[4, 4] w1, float[4, 4] w2> {
        u = Identity(t)
        a = MatMul(x, w0) s = SequenceConstruct(a, x) h = Cast <to = 16> (a)
        b = MatMul(a, w1) i = Constant <value_int = 1> () c = SequenceAt(s, i)
        k = Cast <to = 1> (h) d = Add(b, k)
        e = MatMul(d, w2) y = Add(e, c)
    }"""
    data = [{**feeds, "t": np.array(["a", "b"], object)} for feeds in DATA]
    assert_same(model_of(text, w0=(4, 4), w1=(4, 4), w2=(4, 4)), data)


def test_nothing_is_left_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    session = SegmentedRuntime(CPU, 2).open(model_of(ROW, **SQUARES), exact=True, batches=DATA)
    session.run(DATA[0])
    assert [path.name.split("-")[0:2] for path in tmp_path.iterdir()] == [["autocast", "segments"]]
    session.close()
    assert list(tmp_path.iterdir()) == []


def test_no_room_to_spill_is_said_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Counting()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1000, 900, 100))
    data = [{"x": np.ones((8, 4), np.float32)}] * 4
    with pytest.raises(OutputError, match=r"4 segments.* 1024 bytes .* 4 batches, 100 bytes are free: make room"):
        SegmentedRuntime(runtime, 4).open(model_of(ROW, **SQUARES), exact=True, batches=data)
    assert runtime.opened == []


def test_room_that_an_input_of_lengths_asks_for_is_known_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Counting()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1000, 900, 100))
    text = ROW.replace("float[N, 4] x", "float[N, 4] x, int64[2] lengths").replace(
        "[r0] b0 = Relu(a0)", "[r0] b0 = Expand(a0, lengths)"
    )
    data = [{"x": np.ones((1, 4), np.float32), "lengths": np.array([8, 4])}] * 4
    with pytest.raises(OutputError, match=r" 1024 bytes .* 4 batches, 100 bytes are free"):
        SegmentedRuntime(runtime, 4).open(model_of(text, **SQUARES), exact=True, batches=data)
    assert runtime.opened == []


def test_room_is_asked_for_again_where_only_the_run_shows_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1000, 900, 100))
    text = ROW.replace(
        "[r0] b0 = Relu(a0)",
        "i = NonZero(a0) [r0] j = Cast <to = 1> (i) k = Transpose(j) b0 = Concat <axis = 1> (k, k)",
    )
    with pytest.raises(OutputError, match="100 bytes are free"):
        outputs(model_of(text, **SQUARES), 4, [{"x": np.ones((8, 4), np.float32)}] * 4)


def test_a_boundary_tensor_larger_than_memory_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autocast_core.backends.segments.segmented_session.available_bytes", lambda: 100)
    with pytest.raises(DataError, match=r"tensor 'b1', which crosses .* one batch, .* free: give smaller batches"):
        outputs(model_of(ROW, **SQUARES), 2, [{"x": np.ones((8, 4), np.float32)}])
