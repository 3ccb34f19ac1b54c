"""Faults in real architectures, at full width with two layers a stage, found by the same diagnosis."""

import numpy as np
import onnx
import pytest

from tests import models
from tests.autocast_core.diagnose.diagnosed import diagnosed
from tests.autocast_core.diagnose.disguises import converted, optimised, renamed
from tests.autocast_core.diagnose.planted_bases import Base
from tests.autocast_core.diagnose.planted_faults import NUMERIC, with_fault
from tests.autocast_core.diagnose.planted_pairs import names

pytestmark = pytest.mark.slow
SITES = ("MatMul", "Conv", "Gemm", "LSTM")


def architecture(name, folder):
    built = models.build(name, folder, layers=2)
    found = onnx.load(built.path)
    initializers = {each.name for each in found.graph.initializer}
    products = [
        node for node in found.graph.node if node.op_type in SITES and any(i in initializers for i in node.input)
    ]
    with np.load(built.calibration) as data:
        arrays = {key: data[key][:2] for key in data}
    return Base(found, arrays, products[len(products) // 2].output[0])


@pytest.mark.parametrize("disguise", [converted, lambda model: renamed(converted(model))], ids=["converted", "renamed"])
@pytest.mark.parametrize("fault", ["overflow", "overflow_swallowed_by_div", "cancellation"])
@pytest.mark.parametrize("name", ["bert_base", "mobilenet_v2", "whisper_encoder", "llama_100m"])
def test_the_fault_in_an_architecture_is_named_first(tmp_path, name, fault, disguise):
    base = architecture(name, tmp_path)
    reference = with_fault(base, NUMERIC[fault])
    found = diagnosed(reference, disguise(reference), base.data)
    assert names(found.culprits[0], NUMERIC[fault].culprits), found.sentence()


def test_an_optimised_architecture_does_not_diverge(tmp_path):
    base = architecture("bert_base", tmp_path)
    found = diagnosed(base.model, optimised(base.model), base.data)
    assert not found.diverges
    assert not found.unmatched_candidate
