"""What a plan's corrections of biases make of a model."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from msgspec.structs import replace

from autocast_core.apply import apply_plan
from autocast_core.calibrate import Statistics
from autocast_core.config import ConversionConfig, Precision
from autocast_core.decide import decide
from autocast_core.errors import PlanError
from autocast_core.model import load_proto
from autocast_core.plan import BiasCorrection, CorrectedBiases, PrecisionPlan

TEXT = """
<ir_version: 10, opset_import: ["" : 18]> g (float[1, 2] x) => (float[1, 2] y)
<float[2, 2] w = {1, 2, 3, 4}, float[2] b = {1, 2}> {
    [first] a = MatMul(x, w) [sum] c = Add(a, b) [second] y = Gemm(c, w, B)
}
"""
OWN_BIAS = TEXT.replace("float[2] b = {1, 2}", "float[2] b = {1, 2}, float[2] d = {5, 6}").replace("B)", "d)")


def applied(text: str, *corrections: BiasCorrection, keep: tuple[str, ...] = ()) -> dict[str, list[float]]:
    """The biases of the two products of the converted model."""
    model = load_proto(onnx.parser.parse_model(text))
    plan = decide(model, Statistics(), {}, ConversionConfig(nodes_to_exclude=keep))
    corrected = replace(plan, biases=CorrectedBiases(50.0, 51.0, corrections))
    assert PrecisionPlan.from_json(corrected.to_json()) == corrected
    made = apply_plan(model, corrected).model
    onnx.checker.check_model(ir.serde.serialize_model(made), full_check=True)
    nodes = {node.name: node for node in made.graph}
    biases = {"first": nodes["sum"].inputs[1], "second": nodes["second"].inputs[2]}
    return {name: value.const_value.numpy().tolist() for name, value in biases.items()}


def correction(*values: float, product: str = "first", precision: Precision = Precision.FP16) -> BiasCorrection:
    return BiasCorrection(f"graph/{product}", precision, np.array(values, "<f4").tobytes())


def test_a_bias_takes_its_correction() -> None:
    assert applied(OWN_BIAS, correction(0.5, 1), correction(0, -1, product="second")) == {
        "first": [1.5, 3],
        "second": [5, 5],
    }


def test_a_bias_that_another_node_reads_too_is_copied() -> None:
    assert applied(TEXT.replace("B)", "b)"), correction(0.5, 1)) == {"first": [1.5, 3], "second": [1, 2]}


@pytest.mark.parametrize("given", [{"keep": ("first",)}, {}])
def test_a_product_of_another_type_than_the_correction_is_for_keeps_its_bias(given) -> None:
    precision = Precision.FP16 if given else Precision.BF16
    assert applied(OWN_BIAS, correction(0.5, 1, precision=precision), **given)["first"] == [1, 2]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (correction(1, 2, 3), "is not 2 numbers"),
        (correction(float("nan"), 2), "is not 2 numbers"),
        (correction(1, 2, product="sum"), "has none here"),
        (correction(1, 2, product="third"), "has none here"),
    ],
)
def test_a_correction_that_fits_no_bias_is_refused(wrong: BiasCorrection, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        applied(OWN_BIAS, wrong)
