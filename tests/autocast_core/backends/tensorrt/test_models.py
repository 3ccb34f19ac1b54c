"""The test models, converted, as TensorRT for RTX sees them: parsed, in the types of the plan, and built."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from autocast_core.backends.tensorrt.validate import validate_model
from autocast_core.config import ConversionConfig, Precision
from autocast_core.data import input_specs, open_batches
from autocast_core.engine.validation import Validation
from autocast_core.model import load_model
from autocast_core.pipeline.convert import convert_file
from autocast_core.plan import PrecisionPlan
from autocast_core.targets.fitting import engine_options
from tests.models import ARCHITECTURES, BuiltModel, build

pytestmark = pytest.mark.skipif(
    not any(find_spec(name) for name in ("tensorrt", "tensorrt_rtx")),
    reason="neither tensorrt nor tensorrt-rtx is here",
)
_FLOATS = frozenset({"float", "float16", "bfloat16"})
_TYPES = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float"}


def _judged(path: Path, built: BuiltModel, plan: PrecisionPlan | None = None) -> Validation:
    model = load_model(path)
    batches = open_batches(built.calibration, input_specs(model))
    return validate_model(path, plan, engine_options(model, ConversionConfig(), batches))


def _check(built: BuiltModel, precision: str) -> None:
    """TensorRT takes the converted model wherever it takes the original, at most after feedback."""
    plan, found = _converted(built, ConversionConfig(precision=Precision(precision)))
    if found.refusal is not None:
        plan, found = _converted(built, ConversionConfig(precision=Precision(precision), target="tensorrt"))
    if found.refusal is not None:
        words = [f"{each.node}: {each.words}" for each in _judged(built.path, built).findings]
        assert words, f"accepted in FP32, but refused when converted: {found.findings}"
        pytest.skip(f"refused in FP32 too: {words}")
    assert (found.findings, found.depth) == ((), "built")
    decided = plan.by_id()
    floats = [each for each in found.layers if each.node in decided and not _FLOATS.isdisjoint(each.types)]
    assert [each.node for each in floats if _TYPES.get(decided[each.node].precision) not in each.types] == []
    low = [each for each in floats if _TYPES[precision] in each.types]
    rounds = len(plan.data.target.steps) if plan.data.target else 0
    print(
        json.dumps({"model": built.name, "precision": precision, "low": len(low), "of": len(floats), "steps": rounds})
    )
    assert low


def _converted(built: BuiltModel, config: ConversionConfig) -> tuple[PrecisionPlan, Validation]:
    path = built.path.with_name("low.onnx")
    plan = convert_file(built.path, path, config, calibration=built.calibration).plan
    return plan, _judged(path, built, plan)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_two_layers_of_it_are_built_in_the_types_of_the_plan(name: str, precision: str, tmp_path: Path) -> None:
    _check(build(name, tmp_path, layers=2), precision)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_whole_model_is_built_in_the_types_of_the_plan(name: str, precision: str, tmp_path: Path) -> None:
    _check(build(name, tmp_path), precision)
