"""Validating a model where no engine can be built: a model of fusion tells the kernels, and that is said."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx.parser
import pytest

from autocast_core.backends.tensorrt import validate as tensorrt
from autocast_core.config import ConversionConfig
from autocast_core.engine.validation import Finding, Validation
from autocast_core.model import ModelRef
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.stages.validate import validate

TEXT = """
<ir_version: 10, opset_import: ["" : 22]>
main (float[8, 64] x, float[64, 64] w) => (float[8, 64] y) { [multiply] m = MatMul (x, w) [activate] y = Relu (m) }
"""
SEQUENCE = """
<ir_version: 10, opset_import: ["" : 22]>
main (seq(float[2]) x, int64 i) => (float[2] y) { [at] y = SequenceAt (x, i) }
"""


def _found(folder: Path, text: str, **options) -> Validation:
    paths = {}
    for kind in ("float", "float16"):
        paths[kind] = folder / f"{kind}.onnx"
        onnx.save(onnx.parser.parse_model(text.replace("float[", f"{kind}[")), str(paths[kind]))
    job = Job(ModelRef(paths["float"], ""), ConversionConfig(**options))
    return validate(job, ModelRef(paths["float16"], ""))


@pytest.fixture
def without_tensorrt(monkeypatch):
    monkeypatch.setattr(tensorrt, "find_spec", lambda name: None)


@pytest.mark.usefixtures("without_tensorrt")
def test_without_tensorrt_a_model_of_fusion_tells_the_kernels_of_both_models(tmp_path):
    found = _found(tmp_path, TEXT, device="a10")
    assert (found.depth, found.package, found.accepted) == ("none", None, False)
    assert found.engine_view.described_by == found.fp32_view.described_by == "model of fusion"
    assert found.skipped[-1] == (
        "no engine was built: kernels, traffic and estimated times are those of a model of fusion (fusion/*)"
    )
    # One kernel of x (8, 64), w (64, 64) and y (8, 64): 5,120 elements, 65,536 operations.
    metrics = found.metrics()
    assert (metrics["fusion/kernels"], metrics["fusion/fp32/kernels"]) == (1, 1)
    assert (metrics["fusion/traffic_bytes"], metrics["fusion/fp32/traffic_bytes"]) == (10_240, 20_480)
    assert metrics["fusion/estimated_ms/a10"] == pytest.approx(3e-3 + 10_240 / 600e9 * 1e3)
    assert {name.partition("/")[0] for name in metrics} == {"fusion"}
    assert (found.engine_view.kernels[0].operand_type, found.fp32_view.kernels[0].operand_type) == ("float16", "float")


@pytest.mark.usefixtures("without_tensorrt")
def test_a_model_of_sequences_has_no_view(tmp_path):
    found = _found(tmp_path, SEQUENCE)
    assert (found.engine_view, found.metrics()) == (None, {})


@pytest.mark.parametrize(
    "seen",
    [
        Validation("none", findings=(Finding("graph/activate", "Relu", "UNSUPPORTED", "no"),), package="tensorrt 11"),
        Validation("built", package="tensorrt 11", skipped=("engine view: the build log lists no kernels",)),
    ],
)
def test_what_an_engine_refuses_or_does_not_tell_is_not_made_up(seen, tmp_path, monkeypatch):
    monkeypatch.setattr(tensorrt, "validate_model", lambda *_, **__: seen)
    assert _found(tmp_path, TEXT) == seen
