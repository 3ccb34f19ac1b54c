"""Real architectures, converted: valid, loadable, as accurate as their number format allows, weights stored once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from autocast_core import Conversion, ConversionConfig, Precision, convert_file
from autocast_core.backends.onnxruntime.session import OnnxRuntime
from autocast_core.data import input_specs, open_batches
from autocast_core.evaluate import compare
from autocast_core.model import load_model
from autocast_core.operators import OperandPolicy
from autocast_core.sanitize import sanitize
from autocast_core.simulate import round_everything, simulate
from tests.models import ARCHITECTURES, BuiltModel, build

TOLERANCE = {Precision.FP16: 5e-3, Precision.BF16: 5e-2}
"""Largest relative L2 of the worst output, in simulation."""

YARDSTICK = 1.1
"""Largest multiple of what rounding everything costs on the same weights at the same opset, where that is finite."""

TAKES_LONG = ("swin_tiny_traced", Precision.BF16)
"""As long as five others with two layers; swin_tiny is the same network, exported in another way."""


def _marks(name: str, precision: Precision, layers: int | None) -> tuple[pytest.MarkDecorator, ...]:
    return (pytest.mark.slow,) if layers is None or (name, precision) == TAKES_LONG else ()


EVERY_MODEL = [
    pytest.param(name, precision, layers, id=f"{name}-{precision}-{size}", marks=_marks(name, precision, layers))
    for layers, size in ((2, "two layers"), (None, "whole"))
    for name in ARCHITECTURES
    for precision in (Precision.FP16, Precision.BF16)
]


@pytest.mark.parametrize(("name", "precision", "layers"), EVERY_MODEL)
def test_a_converted_architecture_is_valid_loads_and_stays_accurate(name, precision, layers, tmp_path):
    built = build(name, tmp_path, layers=layers)
    conversion = convert_file(
        built.path, tmp_path / "low.onnx", ConversionConfig(precision=precision), calibration=built.calibration
    )

    onnx.checker.check_model(conversion.output.path, full_check=True)
    if precision is Precision.FP16:
        OnnxRuntime(("cpu",)).open(load_model(conversion.output.path)).close()
    error, everything_rounded = _errors(built, conversion, precision)
    assert error <= TOLERANCE[precision]
    if np.isfinite(everything_rounded):
        assert error <= YARDSTICK * everything_rounded
    _require_weights_stored_once(conversion)


def _errors(built: BuiltModel, conversion: Conversion, precision: Precision) -> tuple[float, float]:
    """The relative L2 of the simulated output, and of the model with everything rounded."""
    runtime, source = OnnxRuntime(("cpu",)), load_model(built.path)
    batches = open_batches(built.evaluation, input_specs(source))
    reference = runtime.open(source)
    sanitized = sanitize(source, ConversionConfig(precision=precision)).model
    found = []
    for candidate in (
        simulate(load_model(conversion.output.path)),
        round_everything(sanitized, OperandPolicy(sanitized.opset_imports), precision),
    ):
        session = runtime.open(candidate)
        found.append(compare(reference, session, batches).worst.rel_l2)
        session.close()
    reference.close()
    return found[0], found[1]


def _require_weights_stored_once(conversion: Conversion) -> None:
    """Weights that only low nodes read have 16 bits; no weight is stored twice in one type."""
    model = load_model(conversion.output.path)
    precisions = {decision.id.rpartition("/")[2]: decision.precision for decision in conversion.plan.nodes}
    seen: Counter[tuple[str, ir.DataType]] = Counter()
    for value in model.graph.initializers.values():
        readers = [node for node in value.consumers() if node.op_type not in ("Cast", "Resize")]
        if value.dtype == ir.DataType.FLOAT and value.const_value.size > 1 and readers:
            assert any(precisions[node.name] == Precision.FP32 for node in readers), value.name
        seen[str(value.name).removesuffix("_fp16").removesuffix("_bf16"), value.dtype] += 1
    assert max(seen.values(), default=0) <= 1


def test_converting_reads_no_clock_and_no_order_of_sets(tmp_path: Path):
    built = build("if_loop", tmp_path, layers=2)
    first = convert_file(built.path, tmp_path / "first.onnx", calibration=built.calibration)
    second = convert_file(built.path, tmp_path / "second.onnx", calibration=built.calibration)

    assert first.output.sha256 == second.output.sha256
    assert first.plan.to_json() == second.plan.to_json()
