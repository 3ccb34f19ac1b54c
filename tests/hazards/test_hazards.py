"""What 16 bits ruin is saved, or ends in a missed gate that names the output and the node; what they do not, passes."""

import math

import numpy as np
import pytest

from autocast_core import Precision
from tests.hazards.fidelity import EQUAL_SHARE, TARGET, agreement
from tests.hazards.hazard import Hazard
from tests.hazards.judged import all_lowered, judged, planned
from tests.hazards.nets import HAZARDS, KINDS
from tests.hazards.rounding_oracle import run_rounding
from tests.onnx_models import run_in_onnxruntime

BOTH = [Precision.FP16, Precision.BF16]
CLEAR = 2.0
"""dB within which the oracle, whose sums round otherwise, need not agree with the simulation."""
DECISIONS = ("best of near ties", "durations that become lengths")
UNSAVED = (
    "few elements that cancel",
    "exp of larger arguments than in calibration",
    "squares of larger values than in calibration",
    "map that amplifies",
    "one ruined batch",
)
"""What the rules by thresholds miss, and the gates find."""
UNSAVED_IN_BF16 = (
    "log-mel spectrum with silent bands",
    "divergence of near-equal distributions",
    "difference of a slow signal",
)
"""What BF16 is too coarse for by thresholds, although FP16 is not; the gates find it."""


def _sampled(*, without: tuple[str, ...] = ()) -> list[object]:
    """Every net but those in `without`; three of four are slow tests, so that the others take seconds."""
    found: list[object] = []
    for kind in KINDS.values():
        for number, name in enumerate(kind):
            if name not in without:
                quick = number % 4 == 0 or name in DECISIONS
                found.append(name if quick else pytest.param(name, marks=pytest.mark.slow))
    return found


_HARMLESS = tuple(name for name, hazard in HAZARDS.items() if hazard.harmless)


@pytest.mark.parametrize("name", HAZARDS)
def test_the_oracle_computes_the_fp32_net_as_onnxruntime_does(name):
    model, feeds = HAZARDS[name].model(), HAZARDS[name].held_out()
    found = agreement(run_in_onnxruntime(model, feeds), run_rounding(model, feeds), len(next(iter(feeds.values()))))
    assert found.db >= 55.0 and found.equal == 1.0


@pytest.mark.parametrize("name", HAZARDS)
def test_lowering_everything_ruins_a_hazard_and_does_a_look_alike_no_harm(name):
    assert all_lowered(HAZARDS[name], Precision.FP16).good("fp16") == HAZARDS[name].harmless


@pytest.mark.parametrize("precision", BOTH)
@pytest.mark.parametrize("name", _sampled())
def test_a_net_is_saved_or_misses_a_gate_that_names_output_and_node(name, precision):
    found = judged(HAZARDS[name], precision)
    if found.passed:
        assert found.oracle.db >= TARGET[precision.value] - CLEAR
        assert found.oracle.equal >= EQUAL_SHARE
    else:
        assert not HAZARDS[name].harmless
        assert "output '" in found.missed
        assert "of the error comes from" in found.missed and "'graph/" in found.missed


@pytest.mark.parametrize("precision", BOTH)
@pytest.mark.parametrize("name", _sampled(without=(*UNSAVED, *_HARMLESS)))
def test_the_rules_save_a_hazard_or_a_gate_finds_it(name, precision):
    found = judged(HAZARDS[name], precision, decide="thresholds")
    saved = not (precision is Precision.BF16 and name in UNSAVED_IN_BF16)
    assert found.passed == saved
    assert found.oracle.good(precision.value) == saved


@pytest.mark.parametrize("precision", BOTH)
def test_the_margin_of_a_spec_saves_an_exponential_whose_arguments_grow(precision):
    found = judged(HAZARDS["exp of larger arguments than in calibration"], precision)
    assert found.passed
    assert found.oracle.good(precision.value)


@pytest.mark.slow
@pytest.mark.parametrize("precision", BOTH)
def test_hardly_a_node_is_kept_for_nothing(precision):
    found = [planned(hazard, precision) for hazard in HAZARDS.values()]
    kept = sum(len(each.kept) for each in found)
    assert sum(len(each.needless()) for each in found) <= 0.05 * kept


def test_a_batch_that_the_total_hides_misses_the_gate():
    found = judged(HAZARDS["one ruined batch"], decide="thresholds")
    assert found.evaluated.metrics["fidelity/sqnr_db"] > found.simulated + 5.0
    assert "batch 5 of 16" in found.missed


@pytest.mark.parametrize("name", DECISIONS)
def test_integers_are_judged_by_how_many_are_equal(name):
    found = judged(HAZARDS[name])
    assert {gate.expression for gate in found.gates} <= {
        "equal_share>=0.95",
        "worst_batch.equal_share>=0.5",
        "no_new_nonfinite",
    }
    assert found.passed == (found.evaluated.metrics["fidelity/equal_share"] >= EQUAL_SHARE)


HARMLESS = Hazard(
    "g (float[N, 8] x) => (float[N, 8] y) <float[8] w = {1, 2, 3, 4, 5, 6, 7, 0.5}> { [scale] y = Mul(x, w) }",
    lambda rng: {"x": rng.normal(0.0, 1.0, (16, 8)).astype(np.float32)},
)


@pytest.mark.parametrize("precision", BOTH)
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
    assert math.isnan(found.evaluated.metrics["fidelity/sqnr_db"])
    assert math.isnan(found.evaluated.metrics["fidelity/rel_l2"])
    assert not found.passed and "no_nonfinite" in found.missed


@pytest.mark.parametrize("hazard", [NAN_WEIGHT, NAN_RESULT, ONLY_NAN])
def test_allow_nonfinite_judges_what_can_be_compared(hazard):
    assert judged(hazard, allow_nonfinite=True).passed
