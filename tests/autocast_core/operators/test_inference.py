import onnx
import onnx_ir as ir
import pytest

from autocast_core.operators import infer_missing_types
from autocast_core.operators.types import parse_type, type_string, with_element_type


def typed(text: str, opset: int = 17) -> dict[str, str]:
    """Types that the schemas alone give, by value name; bodies included."""
    head = f'<ir_version: 10, opset_import: ["": {opset}]>\n'
    model = ir.serde.deserialize_model(onnx.parser.parse_model(head + text))
    infer_missing_types(model)
    values = [value for node in model.graph.all_nodes() for value in node.outputs]
    return {value.name: type_string(value.type) for value in values if value.type is not None}


def test_types_follow_variables_whatever_the_shapes_are():
    found = typed("g (float x, int64[n] s) => (y) { a = Reshape(x, s) b = NonZero(a) c = GatherND(a, b) y = Exp(c) }")
    assert found == {"a": "tensor(float)", "b": "tensor(int64)", "c": "tensor(float)", "y": "tensor(float)"}


@pytest.mark.parametrize(
    ("node", "wanted"),
    [
        ("Cast<to = 7>(x)", "tensor(int64)"),
        ("CastLike(i, x)", "tensor(float)"),
        ("Constant<value_ints = [1]>()", "tensor(int64)"),
        ("Constant<value_float = 1.0>()", "tensor(float)"),
        ('Constant<value_string = "a">()', "tensor(string)"),
        ("Constant<value = float16 {1}>()", "tensor(float16)"),
        ("ConstantOfShape(i)", "tensor(float)"),
        ("ConstantOfShape<value = int32[1] {1}>(i)", "tensor(int32)"),
        ("RandomNormal<shape = [2], dtype = 11>()", "tensor(double)"),
        ("RandomUniformLike(x)", "tensor(float)"),
        ("EyeLike<dtype = 10>(x)", "tensor(float16)"),
        ("SequenceEmpty()", "seq(tensor(float))"),
        ("SequenceConstruct(x, x)", "seq(tensor(float))"),
        ("Shape(x)", "tensor(int64)"),
        ("Less(x, x)", "tensor(bool)"),
        ("DequantizeLinear(q, x)", "tensor(float)"),
        ("IsNaN(x)", "tensor(bool)"),
    ],
)
def test_attributes_and_schemas_state_types(node, wanted):
    assert typed(f"g (float[2] x, int64[2] i, int8[2] q) => (y) {{ y = {node} }}")["y"] == wanted


def test_types_go_into_bodies_and_come_out():
    found = typed(
        """g (float[2] x, bool c, int64 n) => (z, w) {
          z = If(c) <then_branch = t () => (a) { a = Neg(x) }, else_branch = e () => (b) { b = Abs(x) }>
          w = Loop(n, c, x) <body = l (int64 i, bool ci, v) => (co, vo) { co = Identity(ci) vo = Exp(v) }>
        }"""
    )
    assert {found[name] for name in ("a", "b", "z", "vo", "w")} == {"tensor(float)"}


@pytest.mark.parametrize(
    "text", ["tensor(float)", "seq(tensor(float16))", "optional(seq(tensor(int64)))", "tensor(bool)"]
)
def test_type_strings_are_read_and_written_alike(text):
    assert type_string(parse_type(text)) == text


def test_maps_are_no_types_of_ours():
    assert parse_type("seq(map(int64, tensor(float)))") is None


def test_another_element_type_leaves_the_kind():
    kind = parse_type("optional(seq(tensor(float)))")
    assert type_string(with_element_type(kind, ir.DataType.FLOAT16)) == "optional(seq(tensor(float16)))"
    assert type_string(kind) == "optional(seq(tensor(float)))"


def test_scan_outputs_take_the_type_of_the_body_not_of_the_first_state():
    found = typed(
        """g (float[2] x, int64 n) => (w, s) {
          w, s = Loop(n, , x) <body = l (int64 i, bool ci, v) => (co, vo, k) { co = Identity(ci) vo =
            Exp(v) k = Shape(v) }>
        }"""
    )
    assert (found["w"], found["s"]) == ("tensor(float)", "tensor(int64)")


def test_a_sequence_map_wraps_what_its_body_makes():
    found = typed(
        "g (seq(float[3]) s) => (t, y) { t = SequenceMap(s) <body = f (x) => (z) { z "
        "= Exp(x) }> n = SequenceLength(s) y = SequenceAt(t, n) }"
    )
    assert (found["z"], found["t"], found["y"]) == ("tensor(float)", "seq(tensor(float))", "tensor(float)")


def test_an_optional_wraps_and_gives_back_what_it_holds():
    found = typed("g (float[2] x) => (y) { s = SequenceConstruct(x) o = Optional(s) y = OptionalGetElement(o) }", 18)
    assert (found["o"], found["y"]) == ("optional(seq(tensor(float)))", "seq(tensor(float))")
