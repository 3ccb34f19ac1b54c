import pytest

PAIR = """g (float[2] x) => (float[2] y) <float s = {0.5}, int8 z = {0}> {
  q = QuantizeLinear(x, s, z) t = Identity(q) y = DequantizeLinear(t, s, z)
}"""


@pytest.mark.parametrize("kept", ["QuantizeLinear", "DequantizeLinear"])
def test_a_quantizer_and_its_dequantizer_are_kept_together(plan, kept):
    other = {"QuantizeLinear": "DequantizeLinear", "DequantizeLinear": "QuantizeLinear"}[kept]
    found = plan(PAIR, opset=19, op_types_to_exclude=(kept,))
    assert (found.by_id()[f"graph/{kept}_1"].rule, found.by_id()[f"graph/{other}_1"].rule) == (
        "op_type",
        "quantization_pair",
    )


def test_an_include_does_not_part_a_pair_and_a_warning_says_so(plan):
    found = plan(PAIR, opset=19, op_types_to_exclude=("QuantizeLinear",), op_types_to_include=("DequantizeLinear",))
    assert found.by_id()["graph/DequantizeLinear_1"].rule == "quantization_pair"
    assert found.warnings[1:] == (
        "graph/DequantizeLinear_1 was to be included but stays FP32: quantizes 'q' with the scale of node "
        "'graph/QuantizeLinear_1', which stays FP32",
    )
