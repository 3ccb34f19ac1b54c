import onnx
import onnx_ir as ir
import pytest

from autocast_core.config import Precision
from autocast_core.operators import OperandPolicy, Operands, float_operands, parse_plugin_precisions


def operands(text: str, opset: int = 17, precision: str = "fp16", index: int = 0, **options) -> Operands:
    """How node `index` of a model stands to a precision; types come from shape inference."""
    head = f'<ir_version: 10, opset_import: ["": {opset}, "com.microsoft": 1, "custom": 1]>\n'
    model = onnx.shape_inference.infer_shapes(onnx.parser.parse_model(head + text))
    loaded = ir.serde.deserialize_model(model)
    return float_operands(loaded.graph[index], OperandPolicy(loaded.opset_imports, **options), Precision(precision))


RESIZE = "g (float[1,1,2,2] x, float[8] roi, float[4] s) => (float[a,b,c,d] y) { y = Resize(x, roi, s) }"


def test_operands_bound_to_a_variable_move_together():
    found = operands("g (float[2] a, float[2] b) => (float[2] y) { y = Add(a, b) }")
    assert (found.inputs, found.outputs, found.refusal) == ((True, True), (True,), None)


def test_scales_of_a_resize_never_move():
    assert operands(RESIZE).inputs == (True, True, False)


def test_the_roi_of_a_resize_has_no_bf16_form():
    assert operands(RESIZE, 22, "bf16").inputs == (True, False, False)


def test_integers_and_omitted_operands_never_move():
    found = operands("g (float[2] x, int64[1] i) => (float[1] y) { y = Gather(x, i) }")
    assert found.inputs == (True, False)
    found = operands("g (float[2] x, float m) => (float[2] y) { y = Clip(x, , m) }")
    assert found.inputs == (True, False, True)


def test_a_node_without_floats_is_no_float_node():
    assert not operands("g (int64[2] a) => (int64[2] y) { y = Neg(a) }").is_float


def test_an_operator_that_only_reads_floats_may_be_low():
    found = operands("g (float[2] a) => (int64[1] y) { y = Shape(a) }")
    assert (found.inputs, found.outputs) == ((True,), (False,))


def test_an_operator_without_a_form_says_which_opset_has_one():
    found = operands("g (float[2] a) => (float[2] y) { y = Sin(a) }", 17, "bf16")
    assert found.refusal == "Sin has no bf16 form at opset 17; opset 22 has one"
    assert operands("g (float[2] a) => (float[2] y) { y = Celu(a) }", 22).refusal == (
        "Celu has no fp16 form at opset 22; opset 28 has one"
    )


def test_an_operator_that_never_has_a_form_names_no_opset():
    assert operands("g (float[2] a) => (float[2] y) { y = Shrink(a) }", 28, "bf16").refusal == (
        "Shrink has no bf16 form at opset 28"
    )


def test_an_unknown_operator_is_refused():
    found = operands("g (float[2] a) => (float[2] y) { y = custom.Foo(a) }")
    assert found.refusal == "no schema describes custom::Foo"


@pytest.mark.parametrize(
    "op_type", ["Gelu", "FastGelu", "QuickGelu", "BiasGelu", "FusedMatMul", "SkipLayerNormalization"]
)
def test_contrib_operators_are_known_without_onnx_runtime(op_type):
    inputs = {"BiasGelu": "a, b", "FusedMatMul": "a, b", "SkipLayerNormalization": "a, b, c"}.get(op_type, "a")
    found = operands(
        f"g (float[4,4] a, float[4] b, float[4] c) => (float[4,4] y) {{ y = com.microsoft.{op_type}({inputs}) }}"
    )
    assert found.refusal is None
    assert all(found.inputs) and all(found.outputs)


def test_a_node_that_is_low_already_says_so():
    found = operands("g (float16[2] a) => (float16[2] y) { y = Neg(a) }")
    assert (found.current, found.inputs) == (Precision.FP16, (False,))


@pytest.mark.parametrize(("opset", "moves"), [(17, False), (19, True)])
def test_scales_of_quantizers_move_from_opset_19(opset, moves):
    found = operands("g (float[2] x, float s, int8 z) => (int8[2] y) { y = QuantizeLinear(x, s, z) }", opset)
    assert found.inputs == (moves, moves, False)


def test_the_statistics_of_a_layer_normalization_keep_their_stash_type():
    found = operands(
        "g (float[2,3] x, float[3] s) => (float[2,3] y, float[2,1] m, "
        "float[2,1] d) { y, m, d = LayerNormalization(x, s) }"
    )
    assert found.outputs == (True, False, False)


def test_indices_and_depth_of_one_hot_stay_fp32():
    found = operands("g (float[2] i, float d, float[2] v) => (float[2,n] y) { y = OneHot(i, d, v) }")
    assert (found.inputs, found.outputs) == ((False, False, True), (True,))


def test_bit_casts_and_classical_operators_are_never_low():
    assert "reads the bits" in operands("g (float[2] a) => (int32[2] y) { y = BitCast<to = 6>(a) }", 26).refusal


def test_blocked_operands_hold_all_that_share_their_variable():
    blocks = {"MatMul": {"inp": [0]}}
    found = operands("g (float[2,2] a, float[2,2] b) => (float[2,2] y) { y = MatMul(a, b) }", blocks=blocks)
    assert not any(found.inputs) and not any(found.outputs)
    blocks = {"GridSample": {"inp": [1]}}
    text = "g (float[1,1,2,2] x, float[1,2,2,2] g) => (float[1,1,2,2] y) { y = GridSample(x, g) }"
    found = operands(text, 22, blocks=blocks)
    assert (found.inputs, found.outputs) == ((True, False), (True,))


def test_a_plugin_precision_decides_per_operand():
    plugins = parse_plugin_precisions(["Foo:[fp16,fp32]:[fp16]"])
    found = operands("g (float[2] a, float[2] b) => (float[2] y) { y = custom.Foo(a, b) z = Neg(y) }", plugins=plugins)
    assert (found.inputs, found.demanded) == ((True, False), Precision.FP16)


EXCEPTIONS = ("BitCast", "MeanVarianceNormalization", "OneHot", "Optional")
"""Operators of which facts.json says more than their schemas."""


@pytest.mark.parametrize("opset", range(13, 29))
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_every_float_operator_of_every_opset_is_legal_exactly_where_its_schema_admits_the_type(opset, precision):
    """The schema is the source of truth: `tensor(float)` operands on a variable that admits the low type move."""
    wanted = {"fp16": "tensor(float16)", "bf16": "tensor(bfloat16)"}[precision]
    checked = 0
    for schema in onnx.defs.get_all_schemas_with_history():
        if (
            schema.domain
            or schema.deprecated
            or onnx.defs.get_schema(
                schema.name, opset if schema.since_version <= opset else schema.since_version
            ).since_version
            != schema.since_version
        ):
            continue
        if schema.since_version > opset or schema.name in EXCEPTIONS:
            continue
        admits = {item.type_param_str: set(item.allowed_type_strs) for item in schema.type_constraints}
        formals = [
            formal for formal in schema.inputs if "tensor(float)" in admits.get(formal.type_str, {formal.type_str})
        ]
        if not formals or len(formals) != len(schema.inputs):
            continue
        values = [ir.Value(name=f"i{k}", type=ir.TensorType(ir.DataType.FLOAT)) for k in range(len(schema.inputs))]
        node = ir.Node("", schema.name, values, num_outputs=1)
        found = float_operands(node, OperandPolicy({"": opset}), Precision(precision))
        assert found.inputs == tuple(wanted in admits.get(formal.type_str, ()) for formal in schema.inputs), schema.name
        checked += 1
    assert checked > 80
