"""What 16 bits ruin ends in a missed gate that names the output, the batch and the node; what they do not, passes."""

import math

import numpy as np
import pytest

from autocast_core import Precision
from tests.hazards.judged import judged
from tests.hazards.nets import HAZARDS, Hazard

CLEAR = 2.0
"""dB within which the oracle, whose sums round otherwise, need not agree with the simulation."""
DECISIONS = ("best of near ties", "durations that become lengths")
UNSAVED = (*DECISIONS, "one ruined batch")
"""What the rules miss and the gates find."""


@pytest.mark.parametrize("name", HAZARDS)
def test_a_hazard_passes_only_where_the_oracle_sees_no_ruin(name):
    found = judged(HAZARDS[name])
    if found.oracle < 40.0 - CLEAR:
        assert not found.passed
    if not found.passed:
        assert "output 'y'" in found.missed
        assert "of the error comes from" in found.missed and "'graph/" in found.missed


@pytest.mark.parametrize("name", HAZARDS)
def test_a_hazard_is_judged_in_bf16_as_strictly_as_in_fp16(name):
    found = judged(HAZARDS[name], Precision.BF16)
    if not found.passed:
        assert "output 'y'" in found.missed and "of the error comes from" in found.missed
    elif name not in DECISIONS:
        assert found.simulated >= 22.0


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
@pytest.mark.parametrize("name", [name for name in HAZARDS if name not in UNSAVED])
def test_the_rules_save_a_hazard(name, precision):
    found = judged(HAZARDS[name], precision)
    assert found.passed
    if precision is Precision.FP16:
        assert found.oracle >= 40.0


def test_a_batch_that_the_total_hides_misses_the_gate():
    found = judged(HAZARDS["one ruined batch"])
    assert found.evaluated.metrics["fidelity.worst.sqnr_db"] > found.simulated + 5.0
    assert found.passed or "batch 5 of 16" in found.missed


@pytest.mark.parametrize("name", DECISIONS)
def test_integers_are_judged_by_how_many_are_equal(name):
    found = judged(HAZARDS[name])
    assert {gate.expression for gate in found.gates} <= {
        "equal_share>=0.95",
        "worst_batch.equal_share>=0.5",
        "no_new_nonfinite",
    }
    assert found.passed == (found.evaluated.metrics["fidelity.worst.equal_share"] >= 0.95)


HARMLESS = Hazard(
    "g (float[N, 8] x) => (float[N, 8] y) <float[8] w = {1, 2, 3, 4, 5, 6, 7, 0.5}> { [scale] y = Mul(x, w) }",
    lambda rng: {"x": rng.normal(0.0, 1.0, (16, 8)).astype(np.float32)},
)


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
def test_what_16_bits_do_no_harm_passes_the_default_gates(precision):
    found = judged(HARMLESS, precision)
    assert found.passed
    assert [gate.expression for gate in found.gates] == [
        f"worst_batch.sqnr_db>={40 if precision is Precision.FP16 else 22}",
        "no_new_nonfinite",
    ]


NAN_WEIGHT = Hazard(HARMLESS.graph.replace("0.5}", "nan}"), HARMLESS.samples)
NAN_RESULT = Hazard("g (float[N, 8] x) => (float[N, 8] y) { [root] y = Sqrt(x) }", HARMLESS.samples)
ONLY_NAN = Hazard(
    "g (float[N, 8] x) => (float[N, 8] y) <float zero = {0}> { [zero] z = Mul(x, zero) [divide] y = Div(z, z) }",
    HARMLESS.samples,
)


def test_a_nan_weight_misses_a_gate_that_names_it():
    found = judged(NAN_WEIGHT)
    assert "no_nonfinite weight 'w' holds 1 NaN or infinite values" in found.missed
    assert "allow_nonfinite: true" in found.missed
    assert any("weight 'w' holds 1 NaN" in warning for warning in found.plan.warnings)


def test_nan_in_the_fp32_result_misses_a_gate_that_names_output_and_batch():
    found = judged(NAN_RESULT)
    assert "the FP32 model itself gives" in found.missed and "output 'y', first in batch 0 of 4" in found.missed


@pytest.mark.parametrize("gates", [(), ("rel_l2<=1",), ("sqnr_db>=-300",)])
def test_nan_in_both_models_never_counts_as_exact(gates):
    found = judged(ONLY_NAN, gates=gates)
    assert math.isnan(found.evaluated.metrics["fidelity.worst.sqnr_db"])
    assert math.isnan(found.evaluated.metrics["fidelity.worst.rel_l2"])
    assert not found.passed and "no_nonfinite" in found.missed


@pytest.mark.parametrize("hazard", [NAN_WEIGHT, NAN_RESULT, ONLY_NAN])
def test_allow_nonfinite_judges_what_can_be_compared(hazard):
    assert judged(hazard, allow_nonfinite=True).passed
