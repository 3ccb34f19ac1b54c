"""How calibration data is cut into batches, and what is said about data that does not fit."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from autocast_core.data import InputSpec, input_specs, open_batches
from autocast_core.errors import DataError

F32, I64 = ir.DataType.FLOAT, ir.DataType.INT64


def spec(name: str, *dims: Any, dtype: ir.DataType = F32) -> InputSpec:
    return InputSpec(name, dtype, dims)


def shapes(source: Any, *inputs: InputSpec, **options: Any) -> list[dict[str, tuple[int, ...]]]:
    return [{name: array.shape for name, array in batch.items()} for batch in open_batches(source, inputs, **options)]


def floats(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def test_a_multiple_of_a_fixed_batch_is_cut_into_batches() -> None:
    batches = open_batches({"x": floats(6, 3)}, [spec("x", 2, 3)])
    assert len(batches) == 3
    assert [batch["x"][0, 0] for batch in batches] == [0.0, 6.0, 12.0]


def test_a_dynamic_batch_is_cut_by_batch_size_with_a_remainder() -> None:
    assert shapes({"x": floats(5, 3)}, spec("x", "N", 3), batch_size=2) == [{"x": (2, 3)}, {"x": (2, 3)}, {"x": (1, 3)}]
    assert len(shapes({"x": floats(5, 3)}, spec("x", None, 3))) == 5


def test_scalars_and_inputs_without_a_batch_repeat() -> None:
    inputs = [spec("x", "N", 3), spec("scale"), spec("table", 4, 2)]
    source = {"x": floats(2, 3), "scale": np.float32(7), "table": floats(4, 2)}
    assert shapes(source, *inputs) == [{"x": (1, 3), "scale": (), "table": (4, 2)}] * 2


def test_a_sequence_length_that_leads_is_no_batch() -> None:
    inputs = [spec("ids", "batch", "seq", dtype=I64), spec("positions", "seq", dtype=I64)]
    source = {"ids": np.zeros((5, 5), np.int64), "positions": np.arange(5)}
    assert shapes(source, *inputs) == [{"ids": (1, 5), "positions": (5,)}] * 5


def test_axes_that_an_exporter_named_one_by_one_are_one_batch() -> None:
    inputs = [spec("a", "a_axis_0", 2), spec("b", "b_axis_0", 3)]
    assert shapes({"a": floats(2, 2), "b": floats(2, 3)}, *inputs) == [{"a": (1, 2), "b": (1, 3)}] * 2


def test_a_time_axis_before_the_batch_is_left_alone() -> None:
    assert shapes({"x": floats(7, 2, 3)}, spec("x", "time", "batch", 3)) == [{"x": (7, 2, 3)}]


def test_batches_can_be_read_again() -> None:
    batches = open_batches({"x": floats(4, 1)}, [spec("x", 2, 1)])
    assert [b["x"].tolist() for b in batches] == [b["x"].tolist() for b in batches]


def test_labels_are_no_input_and_come_whole() -> None:
    batches = open_batches({"x": floats(3, 1), "labels": np.array([2, 0, 1])}, [spec("x", "N", 1)])
    assert batches.labels.tolist() == [2, 0, 1]
    assert all(list(batch) == ["x"] for batch in batches)


def test_an_input_called_labels_is_an_input() -> None:
    batches = open_batches({"labels": np.float32([[4], [5], [6]])}, [spec("labels", "N", 1)])
    assert batches.labels is None
    assert [batch["labels"].tolist() for batch in batches] == [[[4]], [[5]], [[6]]]


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.array([[1.5]]), F32),
        (np.array([[1.5]], np.float16), F32),
        (np.array([[3]], np.int32), I64),
        (np.array([[3]], np.uint8), I64),
        (np.array([[1]]), ir.DataType.BOOL),
        (np.array([[1.5]], np.float32), ir.DataType.BFLOAT16),
        (np.array([[1.5]], ml_dtypes.bfloat16).view(np.dtype("V2")), ir.DataType.BFLOAT16),
    ],
)
def test_another_width_of_the_same_kind_is_cast_and_said(
    array: np.ndarray, dtype: ir.DataType, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        (batch,) = open_batches({"x": array}, [spec("x", 1, 1, dtype=dtype)])
    assert batch["x"].dtype == dtype.numpy()
    assert float(batch["x"][0, 0]) == (1.5 if array.dtype.kind in "fV" else float(array[0, 0]))
    assert "cast from" in caplog.text


def test_extra_arrays_are_ignored_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    open_batches({"x": floats(1), "y": floats(1)}, [spec("x", 1)])
    assert "'y' is not an input" in caplog.text


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"z": floats(2, 3)}, "no array 'x' (found 'z'); the model takes x float [2, 3]"),
        ({}, "no array 'x' (found no array)"),
        ({"x": floats(3)}, "'x' has shape [3]; the model takes x float [2, 3]"),
        ({"x": floats(3, 3)}, "'x' has shape [3, 3]; the model takes x float [2, 3]"),
        ({"x": floats(2, 4)}, "'x' has shape [2, 4]; the model takes x float [2, 3]"),
        ({"x": floats(0, 3)}, "'x' holds no sample"),
        ({"x": np.zeros((2, 3), np.int64)}, "'x' has type int64; the model takes x float [2, 3]"),
        ({"x": np.zeros((2, 3), complex)}, "'x' has type complex128"),
        ({"x": np.array([[None] * 3] * 2)}, "not a numeric array"),
        ({"x": [[1.0], [2.0, 3.0]]}, "give a numpy array"),
    ],
)
def test_data_that_does_not_fit_is_refused_before_any_work(source: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError) as caught:
        open_batches(source, [spec("x", 2, 3)])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_inputs_that_disagree_about_the_number_of_batches_are_refused() -> None:
    with pytest.raises(DataError, match="different numbers of batches: 'a' 2, 'b' 3"):
        open_batches({"a": floats(2, 1), "b": floats(3, 1)}, [spec("a", 1, 1), spec("b", 1, 1)])
    with pytest.raises(DataError, match="differ in their first dimension: 'a' 2, 'b' 3"):
        open_batches({"a": floats(2, 1), "b": floats(3, 1)}, [spec("a", "N", 1), spec("b", "N", 1)])


def test_integers_that_do_not_fit_are_refused() -> None:
    batches = open_batches({"x": np.array([2**40])}, [spec("x", 1, dtype=ir.DataType.INT32)])
    with pytest.raises(DataError, match="values beyond int32"):
        list(batches)


def test_a_batch_larger_than_the_memory_is_refused_with_an_estimate() -> None:
    huge = np.broadcast_to(np.float32(0), (1 << 42, 1))
    with pytest.raises(DataError, match=r"one batch takes 16384.0 GiB, .* GiB of memory are free"):
        open_batches({"x": huge}, [spec("x", "N", 1)], batch_size=1 << 42)


def test_the_digest_of_arrays_depends_on_their_content() -> None:
    digests = {open_batches({"x": floats(2, 1) + i}, [spec("x", 2, 1)]).digest for i in (0, 0, 1)}
    assert len(digests) == 2


def test_a_missing_file_says_what_may_be_given(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file; give a \.npz file, a folder of them or a Polygraphy \.json"):
        open_batches(tmp_path / "none.npz", [spec("x", 1)])


def test_input_specs_leave_out_inputs_with_a_default() -> None:
    model = ir.from_onnx_text(
        '<ir_version: 3, opset_import: ["":13]> g (float[N, ?] x, float[2] w, seq(float) s) => (float[N] y)'
        " <float[2] w = {1, 2}> { y = Identity(x) }"
    )
    assert input_specs(model) == (
        InputSpec("x", F32, ("N", None)),
        InputSpec("s", F32, (), "sequence"),
    )
