"""Settings of other tools as options of a conversion, and as edits of a plan."""

import onnx
import pytest

from autocast_core import ConversionConfig, Precision, convert_file
from autocast_core.errors import ConfigError
from autocast_core.pipeline.other_tools.import_settings import import_into_plan, import_options

TEXT = """<ir_version: 8, opset_import: ["": 17]>
g (bool c, float[2,2] x) => (float[2,2] y, int64[2] s) {
  [mm] a = MatMul(x, x) [relu] b = Relu(a) s = Shape(b)
  [choice] y = If (c) < then_branch = t () => (float[2,2] p) { [exp] p = Exp(b) },
                        else_branch = e () => (float[2,2] q) { [log] q = Abs(b) }> }"""
UNNAMED = """<ir_version: 8, opset_import: ["": 17]>
g (float[2] x) => (float[2] y) { a = Neg(x) y = Abs(a) }"""


@pytest.fixture
def source(tmp_path):
    model = onnx.parser.parse_model(TEXT)
    model.graph.node[3].attribute[1].g.node[0].name = "log:1"  # which the parser does not take
    onnx.save(model, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def kept(source, options):
    """The nodes that a conversion with the options keeps in FP32, by name."""
    values = {name: tuple(value) if isinstance(value, list) else Precision(value) for name, value in options.items()}
    done = convert_file(source, source.with_name("out.onnx"), ConversionConfig(**values))
    return {each.id.rpartition("/")[2] for each in done.plan.nodes if each.precision is Precision.FP32}


@pytest.mark.parametrize(
    ("settings", "options", "fp32"),
    [
        ("relu:fp32", {"nodes_to_exclude": ["relu$"]}, {"relu"}),
        ("relu:fp16", {"precision": "fp16", "nodes_to_include": ["relu$"]}, set()),
        (
            "*:fp16,relu:fp32,exp:fp32",
            {"precision": "fp16", "nodes_to_exclude": ["relu$", "exp$"], "nodes_to_include": ["(?!(?:relu|exp)$)"]},
            {"relu", "exp"},
        ),
        (
            "*:fp32,mm:bf16",
            {"precision": "bf16", "nodes_to_exclude": [".*"], "nodes_to_include": ["mm$"]},
            {"relu", "exp", "log:1", "choice"},
        ),
        ("*:fp16", {"precision": "fp16", "nodes_to_include": [".*"]}, set()),
        ("*:fp32", {"nodes_to_exclude": [".*"]}, {"mm", "relu", "exp", "log:1", "choice"}),
        ("log:1:fp32", {"nodes_to_exclude": ["log:1$"]}, {"log:1"}),
        ("node_of_b:fp32", {"nodes_to_exclude": ["relu$"]}, {"relu"}),
        ('{"op_block_list": ["MatMul", "Exp"]}', {"nodes_to_exclude": ["mm$", "exp$"]}, {"mm", "exp"}),
    ],
)
def test_options_say_of_a_model_what_the_settings_say(source, settings, options, fp32):
    found = import_options(settings, source)
    assert found.options == options
    assert fp32 <= kept(source, found.options)
    assert kept(source, found.options) - fp32 <= {"choice", "exp", "log:1", "Shape_4"}  # branches of an If agree


def test_unnamed_nodes_are_reached_as_tensorrt_calls_them(tmp_path):
    onnx.save(onnx.parser.parse_model(UNNAMED), tmp_path / "m.onnx")
    assert import_options("node_of_a:fp32", tmp_path / "m.onnx").options == {"nodes_to_exclude": ["Neg_1$"]}


@pytest.fixture
def plan(source):
    return convert_file(source, source.with_name("out.onnx")).plan


def test_a_plan_is_edited_and_says_why(plan, source):
    found = import_into_plan("relu:fp32,exp:fp16,absent:fp32,mm:int8", plan)
    decision = found.plan.by_id()["graph/relu"]
    assert (decision.precision, decision.rule) == (Precision.FP32, "imported")
    assert (found.changed, found.refused) == (1, ())
    assert (found.unmatched, found.ignored) == (("absent",), ("mm:int8",))
    edited = convert_file(source, source.with_name("edited.onnx"), plan=found.plan)
    assert edited.plan.by_id()["graph/relu"].precision is Precision.FP32


def test_nodes_in_bodies_and_operators_are_reached(plan):
    assert import_into_plan("log:1:fp32", plan).plan.by_id()["graph/choice:else_branch/log:1"].rule == "imported"
    assert import_into_plan("MatMul", plan).plan.by_id()["graph/mm"].precision is Precision.FP32


def test_what_is_not_legal_is_refused(tmp_path):
    text = '<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y) { [celu] y = Celu(x) }'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "m.onnx")
    plan = convert_file(tmp_path / "m.onnx", tmp_path / "o.onnx").plan
    found = import_into_plan("celu:fp16", plan)
    assert (found.changed, found.refused) == (0, ("graph/celu",))


@pytest.mark.parametrize("settings", ["absent:fp32", "mm:int8", '{"op_block_list": []}'])
def test_settings_that_reach_no_node_are_an_error(source, plan, settings):
    for run in (lambda: import_options(settings, source), lambda: import_into_plan(settings, plan)):
        with pytest.raises(ConfigError, match="reach no node"):
            run()


def test_the_other_16_bit_type_is_refused_for_a_plan(plan):
    with pytest.raises(ConfigError, match="ask for bf16, and the plan is for fp16"):
        import_into_plan("mm:bf16", plan)
