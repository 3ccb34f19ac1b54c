"""The feedback of a target: real rounds with TensorRT for RTX, and the rules with an engine made of text."""

from __future__ import annotations

from importlib.util import find_spec

import onnx.parser
import onnx_ir as ir
import pytest
from msgspec.structs import replace

from autocast_core.config import ConversionConfig, Precision
from autocast_core.engine.options import Profile
from autocast_core.engine.validation import Finding, Validation
from autocast_core.errors import ConfigError
from autocast_core.model import load_proto
from autocast_core.plan import NodeDecision, PlanSettings, PluginPrecision, PrecisionPlan
from autocast_core.targets.feedback import fit_plan
from autocast_core.targets.fitting import engine_options, fit_to_target
from autocast_core.targets.refusals import TargetEngine, target_named

installed = pytest.mark.skipif(
    not any(find_spec(name) for name in ("tensorrt", "tensorrt_rtx")),
    reason="neither tensorrt nor tensorrt-rtx is here",
)
FP16_PLUGIN = PluginPrecision((Precision.FP16,), (Precision.FP16,))
UNKNOWING = TargetEngine("tensorrt", "nothing", 9, 25, ())
CHAIN = """
<ir_version: 10, opset_import: ["" : 22]>
main (float[1, 2, 4, 4] x) => (float[1, 2, 4, 4] y)
{ [first] a = Sin (x) [second] b = Mish (a) [third] c = Mish (b) [last] y = Sin (c) }
"""
RECURRENT = """
<ir_version: 10, opset_import: ["" : 22]>
main (float[3, 1, 2] x) => (float[3, 1, 1, 2] y)
<float[1, 8, 2] w = {WEIGHTS}, float[1, 8, 2] r = {WEIGHTS}, float[1, 6, 2] v = {FEWER}, float[1, 6, 2] s = {FEWER}> {
    [before] b = Sin (x)
    [memory] h = LSTM <hidden_size = 2> (b, w, r)
    [flatten] f = Squeeze (h, axis)
    [turn] t = Relu (f)
    [gates] y = GRU <hidden_size = 2> (t, v, s)
}
"""


def _model(text: str) -> ir.Model:
    text = text.replace("WEIGHTS", ", ".join(["0.1"] * 16)).replace("FEWER", ", ".join(["0.1"] * 12))
    text = text.replace("> {", ", int64[1] axis = {1}> {") if "axis" in text else text
    return load_proto(onnx.parser.parse_model(text))


def _plan(model: ir.Model, precision: Precision, **others: Precision) -> PrecisionPlan:
    nodes = tuple(
        NodeDecision(f"graph/{n.name}", n.op_type, others.get(n.name or "", precision), "default") for n in model.graph
    )
    return PrecisionPlan(precision, "5" * 64, "6" * 64, nodes, settings=PlanSettings(keep_io_types=False))


def _precisions(plan: PrecisionPlan) -> dict[str, str]:
    return {decision.id.removeprefix("graph/"): str(decision.precision) for decision in plan.nodes}


def _judge(refuse):
    """An engine that refuses what `refuse`, given the precisions by name, returns a finding for."""

    def judge(plan: PrecisionPlan) -> Validation:
        finding = refuse(_precisions(plan))
        return Validation("none" if finding else "built", findings=(finding,) if finding else (), package="engine 1")

    return judge


def _refusing(precisions, names, refused, code="INVALID_NODE"):
    name = next((each for each in names if precisions[each] == refused), None)
    return Finding(f"graph/{name}", "Mish", code, f"no {refused} for {name}") if name else None


@installed
def test_what_is_known_to_be_refused_is_accepted_after_no_round():
    model = _model(CHAIN)
    config = ConversionConfig(precision=Precision.BF16, target="tensorrt")
    fitted = fit_to_target(model, _plan(model, Precision.BF16), config)
    assert (fitted.validation.depth, fitted.validation.findings) == ("built", ())
    assert _precisions(fitted.plan) == {"first": "bf16", "second": "fp32", "third": "fp32", "last": "bf16"}
    assert [step.round for step in fitted.steps] == [0]


@installed
def test_a_refusal_that_nobody_knew_is_corrected_in_a_round_with_the_parsers_words(monkeypatch):
    monkeypatch.setattr("autocast_core.targets.fitting.target_named", lambda name: UNKNOWING)
    model = _model(CHAIN)
    config = ConversionConfig(precision=Precision.BF16, target="tensorrt")
    fitted = fit_to_target(model, _plan(model, Precision.BF16), config)
    assert fitted.validation.accepted
    assert _precisions(fitted.plan) == {"first": "bf16", "second": "fp32", "third": "fp32", "last": "bf16"}
    decision = fitted.plan.by_id()["graph/second"]
    assert decision.rule == "target"
    assert "FLOAT32 or FLOAT16" in decision.reason
    assert "refuses it in bf16" in decision.reason
    assert fitted.plan.data.target.steps[0].nodes == ("graph/second", "graph/third")


@installed
@pytest.mark.parametrize("op", ["ConvTranspose", "HardSwish", "LpNormalization", "Mish"])
def test_the_known_refusals_are_still_those_of_the_engine(op, monkeypatch):
    monkeypatch.setattr("autocast_core.targets.fitting.target_named", lambda name: UNKNOWING)
    operands = "a, w" if op == "ConvTranspose" else "a"
    model = _model(f"""
    <ir_version: 10, opset_import: ["" : 22]>
    main (float[1, 1, 2, 2] x) => (float[1, 1, n, m] y)
    <float[1, 1, 2, 2] w = {{1, 1, 1, 1}}> {{ [before] a = Sin (x) [refused] y = {op} ({operands}) }}
    """)
    config = ConversionConfig(precision=Precision.BF16, target="tensorrt")
    fitted = fit_to_target(model, _plan(model, Precision.BF16), config)
    assert [(step.round, step.nodes, str(step.after)) for step in fitted.steps] == [(1, ("graph/refused",), "fp32")]
    assert fitted.validation.depth == "built"


def test_a_node_that_is_bf16_for_its_range_goes_to_fp32_where_the_engine_refuses_it():
    model = _model(CHAIN)
    both = (Precision.FP16, Precision.BF16)
    plan = replace(_plan(model, Precision.FP16, second=Precision.BF16, third=Precision.BF16), low=both)
    known = fit_plan(model, plan, target_named("tensorrt"), _judge(lambda found: None))
    assert _precisions(known.plan) == {"first": "fp16", "second": "fp32", "third": "fp32", "last": "fp16"}
    found = fit_plan(model, plan, UNKNOWING, _judge(lambda found: _refusing(found, ["second", "third"], "bf16")))
    assert _precisions(found.plan) == {"first": "fp16", "second": "fp32", "third": "fp32", "last": "fp16"}
    assert "refuses it in bf16" in found.plan.by_id()["graph/second"].reason


def test_a_node_refused_in_fp32_gets_the_low_type():
    model = _model(CHAIN)
    plan = _plan(model, Precision.FP16, second=Precision.FP32)
    fitted = fit_plan(model, plan, UNKNOWING, _judge(lambda found: _refusing(found, ["second"], "fp32")))
    assert _precisions(fitted.plan)["second"] == "fp16"
    assert fitted.plan.data.target.accepted is True


def test_a_bf16_node_refused_in_fp32_too_gets_fp16():
    def refuse(found):
        return _refusing(found, ["second"], "bf16") or _refusing(found, ["second"], "fp32")

    model = _model(CHAIN)
    fitted = fit_plan(model, _plan(model, Precision.BF16), UNKNOWING, _judge(refuse))
    assert [(str(step.before), str(step.after)) for step in fitted.steps] == [("bf16", "fp32"), ("fp32", "fp16")]
    assert _precisions(fitted.plan)["second"] == "fp16"


def test_operands_that_the_user_keeps_in_fp32_leave_no_low_type_to_try():
    model = _model(CHAIN)
    plan = _plan(model, Precision.FP16, second=Precision.FP32)
    plan = replace(plan, settings=PlanSettings(operands_to_exclude={"Mish": {"inp": (0,)}}))
    fitted = fit_plan(model, plan, UNKNOWING, _judge(lambda found: _refusing(found, ["second"], "fp32")))
    assert fitted.steps == ()
    assert _precisions(fitted.plan)["second"] == "fp32"


def test_a_plugins_precision_is_the_users_and_no_other_is_tried():
    model = _model(CHAIN)
    plan = _plan(model, Precision.FP16)
    plan = replace(plan, settings=PlanSettings(plugin_precisions={"Mish": FP16_PLUGIN}))
    fitted = fit_plan(model, plan, UNKNOWING, _judge(lambda found: _refusing(found, ["second"], "fp16")))
    assert fitted.steps == ()
    assert _precisions(fitted.plan)["second"] == "fp16"


def test_an_operator_refused_twice_is_changed_everywhere():
    model = _model(CHAIN)
    judge = _judge(lambda found: _refusing(found, ["first", "last"], "fp16"))
    fitted = fit_plan(model, _plan(model, Precision.FP16), UNKNOWING, judge)
    assert [step.nodes for step in fitted.steps] == [("graph/first",), ("graph/last",)]
    assert len(fitted.steps) == 2


def test_a_build_error_that_names_no_node_widens_to_the_previous_recurrent_node():
    model = _model(RECURRENT)

    def refuse(found):
        whole = all(found[name] == "fp32" for name in ("memory", "flatten", "turn", "gates"))
        return None if whole else Finding("", "", "BUILD", "Error during shape inference")

    plan = _plan(model, Precision.BF16)
    fitted = fit_plan(model, plan, target_named("tensorrt"), _judge(refuse))
    assert _precisions(fitted.plan) == {
        "before": "bf16",
        "memory": "fp32",
        "flatten": "fp32",
        "turn": "fp32",
        "gates": "fp32",
    }
    assert [step.round for step in fitted.steps] == [0, 1]
    assert fitted.plan.by_id()["graph/memory"].reason == "engine 1 refuses it in bf16: Error during shape inference"


def test_rounds_end_and_the_plan_is_then_the_one_they_began_with():
    model = _model(CHAIN)
    asked = []

    def refuse(found):
        asked.append(found)
        return Finding("graph/first", "Sin", "INVALID_NODE", "never")

    plan = _plan(model, Precision.FP16)
    fitted = fit_plan(model, plan, UNKNOWING, _judge(refuse))
    assert fitted.plan.nodes == plan.nodes
    assert len(asked) == 2
    assert fitted.plan.data.target.accepted is False
    assert "never" in fitted.plan.warnings[-1]


def test_rounds_are_capped():
    model = _model(CHAIN)
    names = ["first", "second", "third", "last"]
    asked = []

    def refuse(found):
        asked.append(found)
        return _refusing(found, names, "fp16") or _refusing(found, names, "fp32")

    fitted = fit_plan(model, _plan(model, Precision.FP16), UNKNOWING, _judge(refuse), rounds=2)
    assert len(asked) == 3
    assert [step.nodes for step in fitted.steps] == [("graph/first",), ("graph/second",)]
    assert fitted.plan.data.target.accepted is False


def test_what_no_precision_helps_is_left_alone():
    model = _model(CHAIN)
    judge = _judge(lambda found: Finding("", "", "PLUGIN", "plugin libx.so does not load"))
    fitted = fit_plan(model, _plan(model, Precision.FP16), UNKNOWING, judge)
    assert fitted.steps == ()
    assert "libx.so" in fitted.plan.warnings[-1]


def test_without_the_engine_the_known_refusals_alone_decide():
    model = _model(CHAIN)
    fitted = fit_plan(
        model, _plan(model, Precision.BF16), target_named("tensorrt"), lambda plan: Validation(skipped=("not here",))
    )
    assert _precisions(fitted.plan) == {"first": "bf16", "second": "fp32", "third": "fp32", "last": "bf16"}
    assert "could not be asked (not here)" in fitted.plan.warnings[-1]
    assert fitted.plan.data.target.accepted is False


def test_an_opset_that_the_target_does_not_read_is_said():
    model = _model(CHAIN.replace('"" : 22', '"" : 26'))
    fitted = fit_plan(model, _plan(model, Precision.FP16), target_named("tensorrt"), _judge(lambda found: None))
    assert "reads opsets 9 to 25 and the model has 26" in fitted.plan.warnings[0]


def test_the_plan_with_the_targets_words_survives_json():
    model = _model(CHAIN)
    judge = _judge(lambda found: _refusing(found, ["second"], "bf16"))
    plan = fit_plan(model, _plan(model, Precision.BF16), UNKNOWING, judge).plan
    assert PrecisionPlan.from_json(plan.to_json()).to_json() == plan.to_json()


def test_an_unknown_target_is_refused():
    with pytest.raises(ConfigError, match="target 'openvino': give tensorrt"):
        target_named("openvino")


def test_profiles_come_from_the_config_then_from_the_data_then_from_shapes():
    import numpy as np

    model = _model("""
    <ir_version: 10, opset_import: ["" : 22]>
    main (float[n, 4] x, float[n, 4] y, float[n, 4] z, float[2, 4] w) => (float[n, 4] s) { s = Sum (x, y, z, w) }
    """)
    config = ConversionConfig(
        profiles={"x": ((1, 4), (2, 4), (8, 4))}, shapes={"y": (9, 9), "z": (3, 4)}, trt_plugins=("p.so",)
    )
    batches = [{"x": np.zeros((5, 4)), "y": np.zeros((size, 4)), "w": np.zeros((2, 4))} for size in (4, 1, 2)]
    options = engine_options(model, config, batches)
    assert options.profiles == {
        "x": Profile((1, 4), (2, 4), (8, 4)),
        "y": Profile((1, 4), (2, 4), (4, 4)),
        "z": Profile((3, 4), (3, 4), (3, 4)),
    }
    assert options.plugins == ("p.so",)


def test_a_profile_of_what_is_no_input_is_refused():
    model = _model(CHAIN)
    with pytest.raises(ConfigError, match="profile of 'q': the model's inputs are x"):
        engine_options(model, ConversionConfig(profiles={"q": ((1,), (1,), (1,))}))


@pytest.mark.parametrize("shapes", [((1,), (2,)), ((1,), (2,), (1,)), ((1,), (1, 1), (1,))])
def test_profiles_out_of_order_are_refused(shapes):
    with pytest.raises(ConfigError, match="smallest, usual, largest"):
        ConversionConfig(profiles={"x": shapes})
