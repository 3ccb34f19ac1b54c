import numpy as np
import pytest

from autocast_core.calibrate import Statistics
from autocast_core.calibrate.weights import scan_weights
from autocast_core.config import ConversionConfig, Precision
from autocast_core.decide import decide
from autocast_core.decide.reuse import reuse_plan
from autocast_core.errors import PlanError

TEXT = "g (float[2,3] x) => (float[2,3] y) <float[3] w = {WEIGHTS}> { [mul] a = Mul(x, w) [exp] y = Exp(a) }"
CONFIG = ConversionConfig()


def made(model, weights: str = "1, 2, 3", text: str = TEXT, **options):
    loaded = model(text.replace("WEIGHTS", weights))
    config = ConversionConfig(**options)
    return loaded, decide(loaded, Statistics(), scan_weights(loaded, config.precision), config)


def test_the_same_weights_leave_the_plan_as_it_is(model):
    loaded, plan = made(model)
    assert reuse_plan(loaded, plan, CONFIG.init_max) == plan


def test_other_weights_are_accepted_with_a_warning(model):
    _, plan = made(model)
    other, _ = made(model, "4, 5, 6")
    reused = reuse_plan(other, plan, CONFIG.init_max)
    assert reused.nodes == plan.nodes
    assert reused.weights_digest != plan.weights_digest
    assert reused.warnings == ("the plan was made for other weights of the same structure",)


def test_weights_over_the_limit_keep_their_node(model):
    _, plan = made(model)
    other, _ = made(model, "4, 5, 1e6")
    reused = reuse_plan(other, plan, CONFIG.init_max)
    assert [(d.id, d.precision, d.rule) for d in reused.nodes] == [
        ("graph/mul", Precision.FP32, "initializer_range"),
        ("graph/exp", Precision.FP16, "default"),
    ]
    assert "1 node(s)" in reused.warnings[0]


def test_other_weights_with_nan_are_warned_of_and_recorded_until_they_are_repaired(model):
    _, plan = made(model)
    other, _ = made(model, "4, nan, 6")
    reused = reuse_plan(other, plan, CONFIG.init_max)
    assert reused.warnings[1] == reused.nonfinite_weights() is not None
    assert "holds 1 NaN or infinite values" in reused.warnings[1]
    repaired, _ = made(model, "4, 5, 6")
    assert reuse_plan(repaired, reused, CONFIG.init_max).nonfinite_weights() is None


def test_what_the_plan_says_of_weights_is_counted_for_the_other_ones(model):
    _, plan = made(model, "1, 1e6, 3", nodes_to_include=("mul",))
    other, own = made(model, "1e6, 1e6, 3", nodes_to_include=("mul",))
    assert [each.clamped for each in plan.weights] == [1]
    reused = reuse_plan(other, plan, CONFIG.init_max)
    assert reused.weights == own.weights and [each.clamped for each in reused.weights] == [2]


def test_a_node_that_was_to_be_included_stays_low_whatever_its_weights(model):
    _, plan = made(model, nodes_to_include=("mul",))
    other, _ = made(model, "4, 5, 1e6")
    assert reuse_plan(other, plan, CONFIG.init_max).nodes == plan.nodes


def test_a_mask_over_the_limit_does_not_keep_its_node(model):
    text = "g (float[2,3] x) => (float[2,3] y) <float[3] w = {WEIGHTS}> { s = Add(x, w) y = Softmax(s) }"
    _, plan = made(model, "0, -10000.0, 0", text)
    other, _ = made(model, "0, 0, -3e4", text)
    assert reuse_plan(other, plan, 1000.0).nodes == plan.nodes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            TEXT.replace("[exp] y = Exp(a)", "[neg] y = Neg(a)"),
            "2 node(s) differ: graph/neg (only in the model), graph/exp (only in the plan)",
        ),
        (TEXT.replace("y = Exp(a)", "y = Neg(a)"), "1 node(s) differ: graph/exp (Exp in the plan)"),
        (TEXT.replace("[2,3]", "[4,3]"), "edges, attributes or shapes differ"),
    ],
)
def test_another_structure_is_refused_naming_nodes(model, text, said):
    _, plan = made(model)
    other, _ = made(model, text=text)
    with pytest.raises(PlanError) as error:
        reuse_plan(other, plan, CONFIG.init_max)
    assert said in str(error.value)


def test_reading_weights_needs_no_statistics(model):
    loaded, plan = made(model)
    value = loaded.graph.initializers["w"]
    assert np.array_equal(value.const_value.numpy(), [1, 2, 3])
    assert plan.data.origin == "none"


GUARD = """g (float[2] x) => (float[2] y) <float tiny = {GUARD}> { [guard] g = Max(x, tiny) [divide] y = Div(x, g) }"""


def test_a_guard_that_the_low_type_would_lose_stays_fp32_in_a_reused_plan(model):
    loaded, plan = made(model, text=GUARD.replace("GUARD", "1e-12"))
    assert {each.rule for each in plan.nodes} == {"guards"}
    assert reuse_plan(loaded, plan, CONFIG.init_max) == plan


def test_a_guard_of_other_weights_that_the_low_type_would_lose_keeps_its_nodes(model):
    _, plan = made(model, text=GUARD.replace("GUARD", "0.01"))
    other, _ = made(model, text=GUARD.replace("GUARD", "1e-12"))
    reused = reuse_plan(other, plan, CONFIG.init_max)
    assert [(each.precision, each.rule) for each in reused.nodes] == [(Precision.FP32, "guards")] * 2
    assert "2 node(s) whose guard against zero fp16 would lose" in reused.warnings[0]
