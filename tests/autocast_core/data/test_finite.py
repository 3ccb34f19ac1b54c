"""NaN and infinity in data, where they are an error."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from autocast_core.data import DataBatches, InputSpec, open_batches
from autocast_core.data.finite import require_finite
from autocast_core.errors import DataError

X = [InputSpec("x", ir.DataType.FLOAT, ("N", 2))]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_file_the_batch_the_input_and_the_place_are_named(tmp_path: Path, value: float) -> None:
    x = np.zeros((3, 2), np.float32)
    x[2, 1] = value
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 2), np.float32))
    np.savez(tmp_path / "b.npz", x=x)
    with pytest.raises(DataError) as caught:
        list(open_batches(tmp_path, X, finite=True))
    assert str(caught.value).startswith(
        f"{tmp_path / 'b.npz'}, batch 2: input 'x' holds 1 NaN or infinite values, the first at [0, 1]"
    )


def test_a_number_that_the_type_of_the_input_cannot_hold_is_one() -> None:
    with pytest.raises(DataError, match="calibration data, batch 0: input 'x'"):
        list(open_batches({"x": np.full((1, 2), 1e300)}, X, finite=True))


def test_data_may_hold_nan_unless_it_is_asked_for_finite_data() -> None:
    x = np.float32([[1, np.nan], [np.inf, 2], [3, -np.inf]])
    found = [batch["x"] for batch in open_batches({"x": x}, X)]
    np.testing.assert_array_equal(np.concatenate(found), x)


def test_integers_booleans_and_texts_are_finite_and_bfloat16_is_looked_at() -> None:
    require_finite({"i": np.ones(2, np.int64), "b": np.ones(2, bool), "t": np.array(["a"], object)}, "here")
    with pytest.raises(DataError, match="input 'h' holds 2"):
        require_finite({"h": np.full(2, np.nan, ml_dtypes.bfloat16)}, "here")


def test_the_first_value_that_is_not_finite_is_found_where_such_data_is_taken(tmp_path: Path) -> None:
    finite, bad = np.ones((3, 2), np.float32), np.ones((3, 2), np.float32)
    bad[2, 1] = np.nan
    np.savez(tmp_path / "a.npz", x=finite)
    np.savez(tmp_path / "b.npz", x=bad)
    batches = open_batches(tmp_path, X)
    assert isinstance(batches, DataBatches)
    where = "b.npz, batch 2: input 'x' holds 1 NaN or infinite values, the first at [0, 1]"
    assert batches.first_nonfinite() == where
    whole = open_batches(tmp_path / "a.npz", X)
    assert isinstance(whole, DataBatches) and whole.first_nonfinite() is None
