"""For TensorRT a measured decision gains accuracy by FP32 inside kernels: no kernel more, and little traffic."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from autocast_core import ConversionConfig
from autocast_core.apply import apply_plan
from autocast_core.engine.view import EngineView
from autocast_core.evaluate.metric_names import SIMULATION
from autocast_core.pipeline.artifacts import SanitizedSource
from autocast_core.pipeline.convert import planning_stages
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.stage import in_this_process, run_stages
from autocast_core.pipeline.stages.evaluate import evaluate_candidate
from autocast_core.pipeline.stages.load import LOAD
from autocast_core.plan import PrecisionPlan
from autocast_core.targets.fitting import plan_view
from tests.models import build

EVERYTHING_LOW = {"data_max": math.inf, "init_max": math.inf, "small_values": False}
MEASURED = {"decide": "measured", "headroom": 8.0, "repair_ranges": True, "target": "tensorrt"}


@dataclass(frozen=True)
class Result:
    plan: PrecisionPlan
    view: EngineView
    sqnr_db: float
    """Of the worst output, in simulation on evaluation data."""


def planned(model: Path, calibration: Path, evaluation: Path, **options) -> Result:
    job = Job(model, ConversionConfig(**options), calibration, evaluation)
    made = run_stages((LOAD, *planning_stages(job.config)), in_this_process(job))
    source, plan = made[SanitizedSource].model, made[PrecisionPlan]
    view = plan_view(source, plan, job.config, job.batches(source, job.calibration))
    metrics = evaluate_candidate(job, apply_plan(source, plan).model, (SIMULATION,)).metrics
    return Result(plan, view, metrics["fidelity/sqnr_db"])


@pytest.mark.skipif(not find_spec("tensorrt_rtx"), reason="tensorrt-rtx is not here")
@pytest.mark.parametrize(
    ("name", "extra_traffic", "gain"),
    [
        ("llama_100m", 0.04, 3.5),
        *(
            pytest.param(name, extra, gain, marks=pytest.mark.slow)
            for name, extra, gain in (
                ("gpt2", 0.04, 1.8),
                ("bert_base", 0.04, 4.0),
                ("t5_small", 0.04, 4.5),
                ("t5_small", 0.02, 1.0),
                ("mobilenet_v2", 0.02, 2.0),
                ("vit_base", 0.04, 1.4),
                ("whisper_encoder", 0.04, 1.2),
                ("swin_tiny", 0.04, 2.0),
                ("detector", 0.04, 1.2),
            )
        ),
    ],
)
def test_accuracy_is_gained_at_no_kernel_and_little_traffic(name, extra_traffic, gain, tmp_path):
    built = build(name, tmp_path, layers=2)
    files = (built.path, built.calibration, built.evaluation)
    lowest, thresholds = planned(*files, **EVERYTHING_LOW), planned(*files)
    free = planned(*files, **MEASURED, extra_traffic=extra_traffic)
    assert free.plan.counts().inside_kernels > 0
    assert len(free.view.kernels) <= 1.01 * len(lowest.view.kernels)
    assert free.view.attention_fused >= lowest.view.attention_fused
    assert free.view.traffic_bytes <= (1 + extra_traffic) * lowest.view.traffic_bytes
    assert free.sqnr_db >= lowest.sqnr_db + gain
    assert free.sqnr_db >= thresholds.sqnr_db - 0.5


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("tensorrt_rtx"), reason="tensorrt-rtx is not here")
@pytest.mark.parametrize(("name", "layers"), [("whisper_encoder", None), ("swin_tiny_traced", None), ("detector", 2)])
def test_with_corrected_biases_models_gain_two_decibels_to_which_types_alone_do_not_get(name, layers, tmp_path):
    built = build(name, tmp_path, layers=layers)
    files = (built.path, built.calibration, built.evaluation)
    lowest = planned(*files, **EVERYTHING_LOW)
    found = planned(*files, **MEASURED, extra_traffic=0.04, correct_biases=True)
    assert len(found.view.kernels) <= 1.01 * len(lowest.view.kernels)
    assert found.view.attention_fused >= lowest.view.attention_fused
    assert found.view.traffic_bytes <= 1.04 * lowest.view.traffic_bytes
    assert found.sqnr_db >= lowest.sqnr_db + 2
