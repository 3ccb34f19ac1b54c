"""Rounding and reading of tensors, chunk by chunk."""

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from autocast_core.errors import ModelError
from autocast_core.model import ConvertedTensor, chunks
from autocast_core.model.tensors import CHUNK_ELEMENTS, DataFile, FileTensor

BF16 = np.dtype(ml_dtypes.bfloat16)


def converted(values, dtype=ir.DataType.FLOAT16, source=np.float32):
    return ConvertedTensor(ir.Tensor(np.asarray(values, source), name="w"), dtype).numpy()


def file_tensor(tmp_path, array, dtype=None):
    path = tmp_path / "weights"
    path.write_bytes(b"\0" * 12 + array.tobytes())
    dtype = dtype or ir.DataType.from_numpy(array.dtype)
    return FileTensor(DataFile.of(path), tmp_path, 12, dtype, ir.Shape(array.shape), "w")


def test_finite_values_beyond_the_range_become_the_largest_with_their_sign():
    assert converted([65520, -1e30, 3.4e38, 65519]).tolist() == [65504, -65504, 65504, 65504]


def test_infinity_and_nan_survive():
    result = converted([np.inf, -np.inf, np.nan])
    assert result[0] == np.inf and result[1] == -np.inf and np.isnan(result[2])


def test_underflow_keeps_the_sign():
    assert np.signbit(converted([1e-30, -1e-30, -0.0])).tolist() == [False, True, True]


def test_ties_round_to_even():
    assert converted([2049, 2051, 1 + 2**-11, 2**-25, 3 * 2**-25]).tolist() == [2048, 2052, 1, 0, 2**-23]


def test_the_fast_rounding_has_the_bits_of_numpys():
    bits = np.random.default_rng(0).integers(0, 1 << 32, 4 * CHUNK_ELEMENTS, dtype=np.uint32)
    values = bits.view(np.float32)
    values = values[np.abs(values) < 65520]
    assert values.size > CHUNK_ELEMENTS
    np.testing.assert_array_equal(converted(values).view(np.uint16), values.astype(np.float16).view(np.uint16))


def test_a_block_with_overflow_among_ordinary_values_is_right_everywhere():
    values = np.linspace(-70000, 70000, 2 * CHUNK_ELEMENTS + 1, dtype=np.float32)
    expected = np.clip(values, -65504, 65504).astype(np.float16)
    np.testing.assert_array_equal(converted(values), expected)


def test_bfloat16_saturates_where_rounding_would_overflow():
    largest = np.float32(3.4028235e38)
    assert converted([largest, -largest], ir.DataType.BFLOAT16).astype(np.float32).tolist() == [
        float(ml_dtypes.finfo(BF16).max),
        -float(ml_dtypes.finfo(BF16).max),
    ]


def test_float64_is_rounded_to_bfloat16_once_and_not_twice():
    just_above_the_tie = 1 + 2**-8 + 2**-40
    assert float(converted([just_above_the_tie], ir.DataType.BFLOAT16, np.float64)[0]) == 1 + 2**-7


def test_float64_is_rounded_to_float16_once_and_not_twice():
    just_above_the_tie = 1 + 2**-11 + 2**-40
    assert float(converted([just_above_the_tie], source=np.float64)[0]) == 1 + 2**-10


def test_float64_beyond_float32_becomes_the_largest_float32():
    assert converted([1e300, -1e300], ir.DataType.FLOAT, np.float64).tolist() == [
        3.4028234663852886e38,
        -3.4028234663852886e38,
    ]


def test_a_half_becomes_the_same_float32():
    values = np.array([0.1, -65504, 6e-8], np.float16)
    assert converted(values, ir.DataType.FLOAT, np.float16).tolist() == values.astype(np.float32).tolist()


def test_conversion_of_integers_is_refused():
    with pytest.raises(ValueError, match="INT64"):
        ConvertedTensor(ir.Tensor(np.arange(3), name="i"), ir.DataType.FLOAT16)


def test_chunks_cover_a_file_tensor_in_order(tmp_path):
    array = np.arange(10_000, dtype=np.float32).reshape(100, 100)
    parts = [part.copy() for part in chunks(file_tensor(tmp_path, array), elements=4096)]
    assert [part.size for part in parts] == [4096, 4096, 1808]
    np.testing.assert_array_equal(np.concatenate(parts), array.reshape(-1))


@pytest.mark.parametrize("dtype", [np.float16, BF16, np.int64, np.bool_, np.uint8])
def test_a_file_tensor_is_read_in_its_own_type(tmp_path, dtype):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    tensor = file_tensor(tmp_path, array)
    assert tensor.numpy().dtype == array.dtype
    np.testing.assert_array_equal(tensor.numpy(), array)


def test_packed_int4_is_read_from_a_file(tmp_path):
    packed = ir.Tensor(np.array([1, -2, 7], ml_dtypes.int4), name="q")
    tensor = file_tensor(tmp_path, np.frombuffer(packed.tobytes(), np.uint8), ir.DataType.UINT8)
    tensor = FileTensor(tensor.file, tmp_path, 12, ir.DataType.INT4, ir.Shape([3]), "q")
    assert tensor.numpy().astype(int).tolist() == [1, -2, 7]
    assert tensor.tobytes() == packed.tobytes()
    assert np.concatenate(list(chunks(tensor))).astype(int).tolist() == [1, -2, 7]


def test_an_empty_and_a_0d_tensor_have_their_elements(tmp_path):
    assert list(chunks(file_tensor(tmp_path, np.empty((0, 3), np.float32)))) == []
    assert converted(np.empty((2, 0))).shape == (2, 0)
    assert converted(2.5).shape == () and converted(2.5) == 2.5


def test_a_file_that_changed_is_named(tmp_path):
    tensor = file_tensor(tmp_path, np.ones(4, np.float32))
    (tmp_path / "weights").write_bytes(b"\0" * 40)
    with pytest.raises(ModelError, match=r"weights: the file changed while tensor 'w'"):
        tensor.numpy()


def test_a_file_that_vanished_is_named(tmp_path):
    tensor = file_tensor(tmp_path, np.ones(4, np.float32))
    (tmp_path / "weights").unlink()
    with pytest.raises(ModelError, match=r"weights: cannot read tensor 'w'"):
        list(chunks(tensor))


def test_a_tensor_converted_to_its_own_type_is_its_source(tmp_path):
    source = file_tensor(tmp_path, np.arange(5, dtype=np.float32))
    assert next(chunks(ConvertedTensor(source, ir.DataType.FLOAT))).tolist() == [0, 1, 2, 3, 4]
