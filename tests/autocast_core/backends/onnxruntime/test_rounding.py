import numpy as np

from autocast_core.backends.onnxruntime.rounding import OnnxRuntimeRounding


def test_every_kind_of_number_is_rounded_as_numpy_rounds_it():
    # All sign and exponent bits with the upper bits of the significand, and the two neighbours of each tie.
    upper = np.arange(1 << 20, dtype=np.uint32) << 12
    source = np.concatenate([upper, upper | 1, upper | 0xFFF]).view(np.float32)
    target = np.empty(source.size, np.float16)
    OnnxRuntimeRounding()(source, target)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = source.astype(np.float16)
    nan = np.isnan(source)
    assert np.array_equal(target.view(np.uint16)[~nan], expected.view(np.uint16)[~nan])
    assert np.isnan(target[nan]).all()


def test_small_blocks_are_rounded_too():
    target = np.empty(3, np.float16)
    OnnxRuntimeRounding()(np.array([1.0, 2.0**-25, -(2.0**-24)], np.float32), target)
    assert target.tolist() == [1.0, 0.0, -(2.0**-24)]
