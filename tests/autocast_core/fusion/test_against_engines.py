"""The model of fusion beside engines that are really built of the test models, everything in 16 bits."""

from __future__ import annotations

import math
from importlib.util import find_spec

import pytest

from autocast_core.backends.tensorrt.validate import validate_model
from autocast_core.config import ConversionConfig
from autocast_core.data import input_specs, open_batches
from autocast_core.fusion import estimated_view, static_shapes
from autocast_core.model import load_model
from autocast_core.pipeline.convert import convert_file
from autocast_core.targets.fitting import engine_options
from tests.models import build

LOWEST = ConversionConfig(data_max=math.inf, init_max=math.inf, small_values=False)

DEVIATIONS = {
    "gpt2": (0.05, 0.03),
    "bert_base": (0.0, 0.03),
    "llama_100m": (0.0, 0.01),
    "mobilenet_v2": (0.03, 0.03),
    "resnet50": (0.04, 0.02),
    "t5_small": (0.08, 0.01),
    "vit_base": (0.05, 0.04),
    "whisper_encoder": (0.13, 0.06),
    "swin_tiny": (0.28, 0.21),
    "unet": (0.43, 0.20),
}
"""How far kernels and traffic are estimated from the engine's, at most; as infra/docs/engine.md says."""


@pytest.mark.skipif(not find_spec("tensorrt_rtx"), reason="tensorrt-rtx is not here")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "llama_100m" else pytest.mark.slow) for name in DEVIATIONS]
)
def test_kernels_and_traffic_of_a_real_engine_are_estimated(name, tmp_path):
    built = build(name, tmp_path, layers=2)
    path = tmp_path / "low.onnx"
    convert_file(built.path, path, LOWEST, calibration=built.calibration)
    model = load_model(path)
    batches = open_batches(built.calibration, input_specs(model))
    engine = validate_model(path, None, engine_options(model, LOWEST, batches)).engine_view
    estimate = estimated_view(model, static_shapes(model, next(iter(batches))))
    kernels, traffic = DEVIATIONS[name]
    assert len(estimate.kernels) == pytest.approx(len(engine.kernels), rel=kernels + 0.005)
    assert estimate.traffic_bytes == pytest.approx(engine.traffic_bytes, rel=traffic + 0.005)
    if name not in ("swin_tiny", "unet"):
        assert estimate.attention_fused == engine.attention_fused
