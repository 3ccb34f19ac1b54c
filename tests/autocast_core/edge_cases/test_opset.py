"""Edge cases 64 to 67: legality per operator, opset and input."""

import numpy as np
import onnx
import pytest

from autocast_core.errors import ConfigError

X = np.array([[1.0, -2.0, 3.0], [0.5, 0.25, -4.0]], np.float32)


def model(opset: int, text: str) -> str:
    ir_version = onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)])
    return f'<ir_version: {ir_version}, opset_import: ["": {opset}]> {text}'


UNARY = "g (float[2,3] x) => (float[2,3] y) {{ a = Relu(x) y = {}(a) }}"


@pytest.mark.parametrize(
    ("op_type", "since"), [("Gelu", 20), ("Celu", 28), ("Erf", 13), ("Mish", 18), ("HardSwish", 14)]
)
def test_fp16_is_legal_from_the_opset_that_the_schema_says(convert, op_type, since):
    """Below that opset the node stays FP32 under the rule legality (edge case 64)."""
    definitions = [since] if since != 28 else [27, 28]
    for opset in definitions:
        found = convert(model(opset, UNARY.format(op_type)), {"x": X})
        wanted = ("fp16", "default") if opset >= since else ("fp32", "legality")
        assert found.decision(f"{op_type}_1") == wanted
        found.assert_close()


@pytest.mark.parametrize(("opset", "wanted"), [(26, "fp32"), (27, "fp16")])
def test_a_range_of_floats_is_fp32_below_opset_27(convert, opset, wanted):
    """Range accepts FP16 only from opset 27 on (edge case 64)."""
    found = convert(
        model(
            opset,
            "g (float n) => (float[m] y) <float zero = {0}, float one = {1}> { r = Range(zero, n, one) y = Exp(r) }",
        ),
        {"n": np.array(5.0, np.float32)},
    )
    assert found.decision("Range_1")[0] == wanted
    found.assert_close()


@pytest.mark.parametrize(("opset", "wanted"), [(22, "fp32"), (24, "bf16")])
def test_top_k_in_bf16_needs_opset_24(convert, opset, wanted):
    """The reason names the opset that would be needed (edge case 65)."""
    found = convert(
        model(
            opset,
            "g (float[2,3] x) => (float[2,2] y, int64[2,2] i) <int64[1] k = {2}> { a = Exp(x) y, i = TopK(a, k) }",
        ),
        {"x": X},
        "bf16",
    )
    assert found.decision("TopK_1")[0] == wanted
    reason = found.conversion.plan.by_id()["graph/TopK_1"].reason
    assert ("opset 24" in reason) == (wanted == "fp32")
    found.assert_close(tolerance=2e-2)


@pytest.mark.parametrize(
    ("text", "op_type"),
    [
        ("y = Shrink(a)", "Shrink"),
        ("s = SequenceConstruct(a, a) y = ConcatFromSequence<axis = 0>(s)", "SequenceConstruct"),
    ],
)
def test_some_operators_never_have_a_bf16_form(convert, text, op_type):
    """Shrink and sequences stay FP32 at any opset (edge case 65)."""
    found = convert(model(28, f"g (float[2,3] x) => (float[n,3] y) {{ a = Exp(x) {text} }}"), {"x": X}, "bf16")
    assert found.decision(f"{op_type}_1") == ("fp32", "legality")
    assert found.decision("Exp_1")[0] == "bf16"
    found.assert_close(tolerance=2e-2)


def test_legality_is_per_input_not_per_operator(convert):
    """MaxPool is low while its integer output keeps its type (edge case 65)."""
    found = convert(
        model(
            22,
            (
                "g (float[1,1,4,4] x) => (float[1,1,2,2] y, int64[1,1,2,2] i) { a = Relu(x) "
                "y, i = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(a) }"
            ),
        ),
        {"x": np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)},
        "bf16",
    )
    assert found.decision("MaxPool_1")[0] == "bf16"
    assert found.type_of("i") == "int64"


def test_bf16_raises_the_opset_to_22(convert):
    """Most operators accept BF16 only from opset 22 on (edge case 65)."""
    found = convert(model(17, UNARY.format("Sin")), {"x": X}, "bf16")
    assert {each.domain: each.version for each in found.after.opset_import} == {"": 22}
    assert found.decision("Sin_1")[0] == "bf16"
    found.assert_close(tolerance=2e-2)


def test_a_low_opset_that_the_user_insists_on_keeps_illegal_nodes_and_says_so(convert):
    """An explicit opset below 22 is honoured, with a warning (edge case 65)."""
    found = convert(model(17, UNARY.format("Sin")), {"x": X}, "bf16", opset=17)
    assert found.decision("Sin_1") == ("fp32", "legality")
    assert "opset 22" in found.conversion.plan.by_id()["graph/Sin_1"].reason
    assert any("below 22" in warning for warning in found.conversion.warnings)


def test_an_included_node_that_the_opset_refuses_is_warned_of(convert):
    """Include options do not override legality; a warning names the node (edge case 65)."""
    found = convert(model(17, UNARY.format("Sin")), {"x": X}, "bf16", opset=17, op_types_to_include=("Sin",))
    assert any("graph/Sin_1" in warning and "opset 22" in warning for warning in found.conversion.warnings)


def test_the_opset_is_that_of_the_default_domain(convert):
    """Versions of other domains are not mistaken for the opset (edge case 66)."""
    found = convert(
        (
            '<ir_version: 8, opset_import: ["trt.plugins": 1, "": 17, "ai.onnx.ml": '
            "3]> g (float[2,3] x) => (float[2,3] y) { y = Relu(x) }"
        ),
        {"x": X},
    )
    assert {each.domain: each.version for each in found.after.opset_import} == {
        "trt.plugins": 1,
        "": 17,
        "ai.onnx.ml": 3,
    }
    assert found.decision("Relu_1")[0] == "fp16"


@pytest.mark.parametrize(
    "text",
    [
        "g (float[2,3,4] x) => (float[2,3,4] y) { y = Softmax(x) }",
        "g (float[2,3,4] x) => (float[2,3,4] y) { y = LogSoftmax<axis = 1>(x) }",
        "g (float[2,3,4] x) => (float[2,1,1] y) { y = ReduceSum<axes = [1, 2]>(x) }",
        "g (float[2,3,4] x) => (float[2,1,3,4] y) { y = Unsqueeze<axes = [1]>(x) }",
        "g (float[2,3,4] x) => (float[2,3,4] y) { y = Dropout<ratio = 0.5>(x) }",
        "g (float[2,3,4] x) => (float[2,3,4] y) { y = Clip<min = -1.0, max = 1.0>(x) }",
        (
            "g (float[2,3,4] x) => (float[2,3,4] y) <float[3] s = {1, 2, 3}, float[3] b = {0, 1, 0}, "
            "float[3] m = {0.5, 0, 0}, float[3] v = {1, 4, 1}> { y = BatchNormalization(x, s, b, m, v) }"
        ),
        'g (float[2,3,4] x) => (float[2,3,8] y) <float[3] s = {1, 1, 2}> { y = Upsample<mode = "nearest">(x, s) }',
    ],
)
def test_an_upgrade_that_changes_semantics_keeps_the_values(convert, text):
    """Operators that a later opset redefines compute the same after the upgrade (edge case 67)."""
    opset = 9 if "Upsample" in text else 10
    found = convert(model(opset, text), {"x": np.linspace(-3, 3, 24, dtype=np.float32).reshape(2, 3, 4)})
    assert {each.domain: each.version for each in found.after.opset_import} == {"": 13}
    found.assert_close()


def test_an_opset_beyond_what_onnx_knows_is_refused(convert):
    """An unknown opset is a configuration error (edge case 66)."""
    with pytest.raises(ConfigError, match="opset 99 is unknown"):
        convert(model(17, UNARY.format("Relu")), {"x": X}, opset=99)
