"""Simulating models: contract, bodies, attributes, weights, operators without an FP32 form."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest

from autocast_core.backends.onnxruntime import OnnxRuntime
from autocast_core.config import ConversionConfig, Precision
from autocast_core.model import load_model
from autocast_core.number_formats import LOW_DTYPES
from autocast_core.operators import OperandPolicy
from autocast_core.simulate import round_everything, simulate

CPU = OnnxRuntime(threads=1)
BF16 = ml_dtypes.bfloat16
KEPT = ConversionConfig(keep_io_types=True)
X = np.array([1.0, 0.1, 1e-3], np.float32)


def model_of(text: str, domain: str = "") -> ir.Model:
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 22{domain}]>' + text)
    return ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(proto))


def checked(model: ir.Model) -> ir.Model:
    onnx.checker.check_model(ir.serde.serialize_model(model), full_check=True)
    return model


def run(model: ir.Model, **feeds: np.ndarray) -> dict[str, np.ndarray]:
    session = CPU.open(checked(model), exact=True)
    return dict(zip(session.output_names, session.run(feeds), strict=True))


def bf16(array: np.ndarray) -> np.ndarray:
    return array.astype(BF16).astype(np.float32)


def fp16(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float16).astype(np.float32)


def test_one_model_may_have_both_types() -> None:
    model = model_of(
        "g (float16[N] x) => (float16[N] y)"
        " { h = Sin(x) b = Cast<to = 16>(h) i = Exp(b) f = Cast<to = 10>(i) y = Sqrt(f) }"
    )
    (found,) = run(simulate(model), x=X).values()
    exponential = bf16(np.exp(bf16(fp16(np.sin(fp16(X))))))
    assert np.array_equal(found, fp16(np.sqrt(fp16(exponential))))


def test_a_node_that_only_hands_numbers_on_is_not_rounded_again() -> None:
    model = model_of(
        "g (float16[1,2,3] x) => (float16[1,2,4] y) <int64[1] four = {4}> { y = CenterCropPad<axes = [2]>(x, four) }"
    )
    casts = [node for node in simulate(model).graph if node.op_type == "Cast"]
    assert [node.inputs[0].name for node in casts[:1]] == ["x"]
    assert len(casts) == 2


def test_inputs_and_outputs_keep_their_names_and_become_fp32() -> None:
    model = model_of("g (float16[N] x, int64[N] i, float[N] f) => (float16[N] y, float16[N] z, float[N] f2, int64[N] j)"
                     " { y = Neg(x) z = Identity(y) f2 = Neg(f) j = Identity(i) }")  # fmt: skip
    found = simulate(model)
    assert [(v.name, v.dtype.name) for v in found.graph.inputs] == [("x", "FLOAT"), ("i", "INT64"), ("f", "FLOAT")]
    assert [(v.name, v.dtype.name) for v in found.graph.outputs] == [
        ("y", "FLOAT"),
        ("z", "FLOAT"),
        ("f2", "FLOAT"),
        ("j", "INT64"),
    ]


def test_the_model_itself_is_not_changed_and_weights_are_shared() -> None:
    model = model_of("g (float16[N] x) => (float16[N] y) <float16[1] w = {15360}> { y = Mul(x, w) }")
    before = ir.to_onnx_text(model)
    simulate(model)
    assert ir.to_onnx_text(model) == before


def test_an_fp32_model_comes_back_as_it_is() -> None:
    model = model_of("g (float[N] x) => (float[N] y) { a = Exp(x) y = Cast<to = 1>(a) }")
    assert ir.to_onnx_text(simulate(model)) == ir.to_onnx_text(model)


BODIES = """
g (float[N] x, bool c, int64 n) => (bfloat16[N] z, bfloat16[K, N] all) <bfloat16[1] k = {16269}> {
    h = Cast<to = 16>(x)
    q = If(c) <then_branch = yes () => (bfloat16[N] a) { a0 = Mul(h, k) a = Add(a0, h) },
               else_branch = no () => (bfloat16[N] b) { b = Identity(h) }>
    z, all = Loop(n, , q) <body = body (int64 i, bool go, bfloat16[N] s) => (bool on, bfloat16[N] t, bfloat16[N] u) {
        on = Identity(go) t = Mul(s, k) u = Sub(t, h) }>
}
"""


@pytest.mark.parametrize("taken", [True, False])
def test_bodies_round_like_the_main_graph(taken: bool) -> None:
    found = run(simulate(model_of(BODIES)), x=X, c=np.array(taken), n=np.array(2))
    h, k = bf16(X), bf16(np.float32([1.1]))
    state = bf16(bf16(h * k) + h) if taken else h
    rows = []
    for _ in range(2):
        state = bf16(state * k)
        rows.append(bf16(state - h))
    assert found["z"].tolist() == state.tolist()
    assert found["all"].tolist() == np.array(rows).tolist()


def test_scan_and_sequences() -> None:
    model = model_of("""
    g (float16[2, N] x, float16[N] start, int64 at) => (float16[N] last, float16[N] picked) {
        last, sums = Scan(start, x) <num_scan_inputs = 1,
            body = body (float16[N] s, float16[N] r) => (float16[N] t, float16[N] u) { t = Add(s, r) u = Identity(t) }>
        parts = SplitToSequence<keepdims = 0>(sums)
        empty = SequenceEmpty<dtype = 10>()
        some = SequenceInsert(empty, last)
        first = SequenceAt(parts, at)
        other = SequenceAt(some, at)
        picked = Add(first, other)
    }""")
    x = np.array([[1.0, 0.1], [0.3, 0.7]], np.float32)
    found = run(simulate(model), x=x, start=np.zeros(2, np.float32), at=np.array(0))
    half = x.astype(np.float16)
    last = (half[0].astype(np.float32) + half[1].astype(np.float32)).astype(np.float16)
    assert found["last"].tolist() == last.tolist()
    picked = (half[0].astype(np.float32) + last.astype(np.float32)).astype(np.float16)
    assert found["picked"].tolist() == picked.tolist()


def test_sequence_map_bodies_round() -> None:
    model = model_of("""
    g (float16[N] x) => (float16[M] y) {
        pair = SequenceConstruct(x, x)
        out = SequenceMap(pair) <body = body (float16[N] e) => (float16[N] f) { f = Mul(e, e) }>
        y = ConcatFromSequence<axis = 0>(out)
    }""")
    half = X.astype(np.float16).astype(np.float32)
    expected = (half * half).astype(np.float16).tolist()
    assert run(simulate(model), x=X)["y"].tolist() == expected * 2


def test_attributes_that_hold_a_type_follow() -> None:
    model = model_of(
        """
    g (int64[1] n, float16[N, 4] x) => (float16[M] y, float16[M] w, float16[4, 4] e, float16[N, 4] l)
    <float16[4] s = {15360, 15360, 15360, 15360}> {
        y = ConstantOfShape<value = float16[1] {15360}>(n)
        k = Constant<value = int64 {5}>()
        w = HannWindow<output_datatype = 10>(k)
        e = EyeLike<dtype = 10>(x)
        l = LayerNormalization<stash_type = 1>(x, s)
    }""".replace("w = HannWindow", "w = HannWindow")
    )
    x = np.arange(16, dtype=np.float32).reshape(4, 4)
    found = run(simulate(model), n=np.array([3]), x=x)
    assert found["y"].tolist() == [1.0, 1.0, 1.0]
    assert found["e"].tolist() == np.eye(4).tolist()
    assert found["w"].dtype == np.float32
    assert found["l"].astype(np.float16).astype(np.float32).tolist() == found["l"].tolist()


def test_casts_between_both_low_types_round_twice() -> None:
    model = model_of("g (float[N] x) => (float[N] y) { a = Cast<to = 10>(x) b = Cast<to = 16>(a) y = Cast<to = 1>(b) }")
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    expected = values.astype(np.float16).astype(np.float32).astype(BF16).astype(np.float32)
    assert run(simulate(model), x=values)["y"].tolist() == expected.tolist()


def test_a_cast_to_fp32_of_what_is_fp32_now_is_an_identity_of_its_name() -> None:
    inner = simulate(model_of("g (float16[N] x) => (float[N] y) { h = Sin(x) f = Cast<to = 1>(h) y = Exp(f) }"))
    casts = [node for node in inner.graph if node.op_type == "Cast"]
    assert all(node.inputs[0].dtype is not node.outputs[0].dtype for node in casts)
    assert [node.op_type for node in inner.graph if node.outputs[0].name == "f"] == ["Identity"]
    (found,) = run(inner, x=X).values()
    assert np.array_equal(found, np.exp(fp16(np.sin(fp16(X)))))
    (found,) = run(
        simulate(model_of("g (float16[N] x) => (float[N] y) { h = Sin(x) y = Cast<to = 1>(h) }")), x=X
    ).values()
    assert np.array_equal(found, fp16(np.sin(fp16(X))))


def test_integers_are_rounded_once_when_they_become_low() -> None:
    model = model_of(
        "g (int64[N] i, float16 t) => (float16[N] a, float16[N] b) { a = Cast<to = 10>(i) b = CastLike(i, t) }"
    )
    integers = np.array([2049, 2051, 4098, 65519])
    found = run(simulate(model), i=integers, t=np.array(0, np.float32))
    assert found["a"].tolist() == found["b"].tolist() == integers.astype(np.float16).tolist()


def test_an_input_or_weight_that_is_an_output_stays_one() -> None:
    model = model_of(
        "g (float16[N] x) => (float16[N] x, float16[1] w, float16[N] y) <float16[1] w = {15361}> { y = Add(x, w) }"
    )
    found = run(simulate(model), x=X)
    assert list(found) == ["x", "w", "y"]
    assert found["w"].tolist() == [float(np.uint16(15361).view(np.float16))]


def test_custom_operators_keep_their_16_bit_operands() -> None:
    model = model_of("g (float16[N] x) => (float16[N] y) { a = Neg(x) b = my.Thing(a) y = Neg(b) }", ', "my" : 1')
    next(node for node in model.graph if node.op_type == "Thing").outputs[0].type = ir.TensorType(ir.DataType.FLOAT16)
    simulated = simulate(model)
    (custom,) = [node for node in simulated.graph if node.op_type == "Thing"]
    assert custom.inputs[0].dtype == ir.DataType.FLOAT16
    (reader,) = [node for node, _ in custom.outputs[0].uses()]
    assert (reader.op_type, reader.outputs[0].dtype) == ("Cast", ir.DataType.FLOAT)


def test_model_local_functions_are_seen_through() -> None:
    proto = onnx.parser.parse_model("""
    <ir_version: 10, opset_import: ["" : 22, "f" : 1]>
    g (float16[N] x) => (float16[N] y) { y = f.square(x) }
    <domain: "f", opset_import: ["" : 22]> square (a) => (b) { b = Mul(a, a) }
    """)
    half = X.astype(np.float16).astype(np.float32)
    found = run(simulate(ir.serde.deserialize_model(proto)), x=X)
    assert found["y"].tolist() == (half * half).astype(np.float16).tolist()


def test_large_weights_stay_in_their_file(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((3, 4000)).astype(np.float16)
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 22]> g (float16[1, 3] x) => (float16[1, 4000] y) { y = MatMul(x, w) }'
    )
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    onnx.save_model(proto, tmp_path / "m.onnx")
    simulated = simulate(load_model(tmp_path / "m.onnx"))
    assert isinstance(simulated.graph.initializers["w"].const_value, ir.ExternalTensor)
    y = CPU.open(simulated, exact=True, few_runs=True).run({"x": X[None]})[0]
    exact = X.astype(np.float16).astype(np.float64) @ weight.astype(np.float64)
    assert np.allclose(y, exact, rtol=2e-3, atol=1e-3)


TABLES = {
    "a table": "{ y = Gather(table, i) }",
    "a table that is a weight too": "{ e = Gather(table, i) s = MatMul(e, turned) y = MatMul(s, table) }",
    "a table read in a body": "{ y = If(c) <then_branch = b () => (float16[2, 32] t) { t = Gather(table, i) },"
    " else_branch = b () => (float16[2, 32] e) { e = Gather(table, i) }> }",
}


@pytest.mark.parametrize("dtype", [np.float16, BF16], ids=["fp16", "bf16"])
@pytest.mark.parametrize("text", TABLES.values(), ids=TABLES)
def test_of_a_large_table_only_the_rows_that_are_picked_are_widened(text: str, dtype: type) -> None:
    header = "g (int64[2] i, bool c) => (float16[2, 32] y) <float16[32, 100] turned, float16[100, 32] table> "
    text = (header + text).replace("float16", "float16" if dtype is np.float16 else "bfloat16")
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 22]> {text}')
    table = np.random.default_rng(0).integers(-4, 5, (100, 32)).astype(dtype)
    del proto.graph.initializer[:], proto.graph.value_info[:]
    weights = {"table": table, "turned": table.T.copy()}
    for name in ("table", *(["turned"] if "turned)" in text else [])):
        proto.graph.initializer.append(ir.serde.serialize_tensor(ir.tensor(weights[name], name=name)))
    simulated = simulate(ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(proto)))
    picked = [use for use, index in simulated.graph.initializers["table"].uses() if index == 0]
    assert "Gather" in {node.op_type for node in picked}
    assert ("Cast" in {node.op_type for node in picked}) is ("turned)" in text)
    found = run(simulated, i=np.array([7, 99]), c=np.array(True))["y"]
    rows = table[[7, 99]].astype(np.float32)
    whole = table.astype(np.float32)
    expected = rows if "turned)" not in text else (rows @ whole.T).astype(dtype).astype(np.float32) @ whole
    assert np.array_equal(found, expected.astype(dtype).astype(np.float32))


def test_quantized_graphs_keep_their_scales() -> None:
    model = model_of("""
    g (float16[N] x) => (float16[N] y) <float16 s = {11878}, int8 z = {0}> {
        q = QuantizeLinear(x, s, z)
        y = DequantizeLinear(q, s, z)
    }""")
    scale = np.uint16(11878).view(np.float16).astype(np.float32)
    found = run(simulate(model), x=X)["y"]
    half = X.astype(np.float16).astype(np.float32)
    assert found.tolist() == (np.round(half / scale) * scale).astype(np.float16).tolist()


def low_values(model: ir.Model) -> set[str | None]:
    return {
        v.name for g in model.graphs() for n in g if n.op_type != "Cast" for v in n.outputs if v.dtype in LOW_DTYPES
    }


def test_nothing_low_is_left_between_nodes() -> None:
    assert low_values(simulate(model_of(BODIES))) == set()


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
def test_rounding_everything_rounds_inputs_weights_and_outputs(precision: Precision) -> None:
    model = model_of("""
    g (float[N] x, bool c) => (float[N] y) <float[1] k = {1.1}> {
        q = If(c) <then_branch = yes () => (float[N] a) { a0 = Mul(x, k) a = Add(a0, x) },
                   else_branch = no () => (float[N] b) { b = Identity(x) }>
        y = Neg(q)
    }""")

    def low(array: np.ndarray) -> np.ndarray:
        return array.astype(precision.numpy).astype(np.float32)

    found = run(round_everything(model, OperandPolicy(model.opset_imports), precision), x=X, c=np.array(True))["y"]
    h = low(X)
    assert found.tolist() == (-low(low(h * low(np.float32([1.1]))) + h)).tolist()


def test_rounding_everything_leaves_what_must_be_fp32() -> None:
    model = model_of("""
    g (float[1, 1, 3, 3] x) => (float[1, 1, M, N] y) <float[4] scales = {1, 1, 1.66669, 1.66669}>
    { y = Resize(x, , scales) }
    """)
    found = round_everything(model, OperandPolicy(model.opset_imports), Precision.BF16)
    (resize,) = [node for node in found.graph if node.op_type == "Resize"]
    assert resize.inputs[2].name == "scales"
    assert resize.inputs[0].name != "x"
