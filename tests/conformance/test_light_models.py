"""The light models that ONNX ships: whole image networks whose weights a ConstantOfShape makes.

ONNX's real models are downloads and therefore not converted here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test
import pytest

from tests.conformance.judging import VARIANTS, judge

FOLDER = Path(onnx.backend.test.__file__).parent / "data" / "light"
QUICK = ("light_shufflenet", "light_squeezenet")


def _cases() -> list[object]:
    return [
        pytest.param(path, id=path.stem, marks=() if path.stem in QUICK else pytest.mark.slow)
        for path in sorted(FOLDER.glob("*.onnx"))
    ]


def _feeds(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    defaults = {tensor.name for tensor in model.graph.initializer}
    (image,) = (value for value in model.graph.input if value.name not in defaults)
    shape = [dim.dim_value for dim in image.type.tensor_type.shape.dim]
    return {image.name: np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32)}


@pytest.mark.parametrize("path", _cases())
def test_a_light_model_converts_and_is_accurate(path: Path, record_property: Callable[[str, object], None]):
    model = onnx.load(path)
    engines = ("onnxruntime", "simulation")  # the reference evaluator takes minutes
    outcomes = [judge(model, _feeds(model), precision, keep, engines=engines) for precision, keep in VARIANTS]
    for outcome in outcomes:
        record_property("conformance", f"{outcome.judgement}, light model")
    assert [f"{each.variant}: {each.defect}" for each in outcomes if each.defect is not None] == []
