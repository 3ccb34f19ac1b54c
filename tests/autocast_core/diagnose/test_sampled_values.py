"""Samples of tensors: the same elements in two models, whole where they are small, never blind to NaN."""

import numpy as np
import pytest

from autocast_core.backends.onnxruntime import OnnxRuntime
from autocast_core.diagnose.sampled_values import SAMPLE_ELEMENTS, sampled_model
from autocast_core.model import load_proto
from tests.autocast_core.diagnose.diagnosed import model, normal

SIZED = model("y = Neg(x)", "(float[N, 100] x) => (float[N, 100] y)")
UNSIZED = model(
    "s = Shape(x)\nc = Cast <to = 1> (s)\nd = Cast <to = 7> (c)\nr = Reshape(x, d)\ny = Neg(r)",
    "(float[N, 100] x) => (float[A, B] y)",
)


def sample(proto, array):
    with sampled_model(load_proto(proto), ["y"], OnnxRuntime(threads=1)) as sampled:
        return sampled.run({"x": array})["y"]


@pytest.mark.parametrize("rows", [1, 40, 41, 300])
def test_a_tensor_whose_size_only_the_run_knows_gives_the_same_elements(rows):
    array = normal(rows, 100)
    known, unknown = sample(SIZED, array), sample(UNSIZED, array)
    np.testing.assert_array_equal(known.elements, unknown.elements)
    assert known.elements.size == min(rows * 100, SAMPLE_ELEMENTS)
    assert known.sampled == (rows * 100 > SAMPLE_ELEMENTS)


@pytest.mark.parametrize("proto", [SIZED, UNSIZED], ids=["sized", "unsized"])
def test_one_infinite_element_of_a_large_tensor_is_seen(proto):
    array = normal(300, 100)
    assert sample(proto, array).finite
    array[123, 45] = np.inf
    assert not sample(proto, array).finite
