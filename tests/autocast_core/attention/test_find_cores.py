"""Attention cores are found in every form that exporters write, each node in its role."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from autocast_core.attention import AttentionCore, Scale, attention_cores
from autocast_core.attention.core import Mask
from tests.autocast_core.attention.forms import FORMS, QKV, Form

GRAPHS = Path(__file__).parents[2] / "models" / "graphs"


def cores(text: str) -> tuple[AttentionCore, ...]:
    model = onnx.parser.parse_model(text)
    for node in model.graph.node:
        node.name = node.output[0]
    return attention_cores(ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(model)).graph)


def core_of(form: Form) -> AttentionCore:
    (core,) = attention_cores(ir.serde.deserialize_model(form.model()).graph)
    return core


def named(form: str) -> AttentionCore:
    return core_of(FORMS[form])


def scales(nodes: str, numbers: str = "float[1] s = {0.125}") -> list[tuple[str, str]]:
    return [(each.node, each.place) for each in core_of(Form(nodes, True, numbers=numbers)).scales]


@pytest.mark.parametrize(
    ("nodes", "found"),
    [
        ("a = MatMul(q, k) p = Softmax(a) y = MatMul(p, v)", []),
        ("a = MatMul(q, k) b = Mul(a, s) p = Softmax(b) y = MatMul(p, v)", [("graph/b", "behind")]),
        ("a = MatMul(q, k) b = Mul(s, a) p = Softmax(b) y = MatMul(p, v)", [("graph/b", "behind")]),
        ("a = MatMul(q, k) b = Div(a, s) p = Softmax(b) y = MatMul(p, v)", [("graph/b", "behind")]),
        ("b = Mul(q, s) a = MatMul(b, k) p = Softmax(a) y = MatMul(p, v)", [("graph/b", "query")]),
        ("b = Div(k, s) a = MatMul(q, b) p = Softmax(a) y = MatMul(p, v)", [("graph/b", "key")]),
        (
            "b = Mul(q, s) c = Mul(k, s) d = Identity(c) a = MatMul(b, d) p = Softmax(a) y = MatMul(p, v)",
            [("graph/b", "query"), ("graph/c", "key")],
        ),
        ("r = Sqrt(s) b = Mul(q, r) a = MatMul(b, k) p = Softmax(a) y = MatMul(p, v)", [("graph/b", "query")]),
        ("b = Mul(q, v) a = MatMul(b, k) p = Softmax(a) y = MatMul(p, v)", []),
    ],
)
def test_scales_say_where_they_stand(nodes, found):
    assert scales(nodes) == found


def test_a_number_for_each_head_is_a_scale():
    assert named("per-head scale").scales == (Scale("graph/b", "behind"),)


@pytest.mark.parametrize(
    ("form", "masks"),
    [
        ("two masks", (Mask("graph/c", "added"), Mask("graph/d", "added"))),
        ("where then add", (Mask("graph/c", "added"), Mask("graph/d", "where"))),
        ("mask times", (Mask("graph/c", "multiplied"),)),
        ("clip scores", (Mask("graph/c", "clipped"),)),
    ],
)
def test_masks_say_how_they_change_scores(form, masks):
    assert named(form).masks == masks
    assert named(form).scales == (Scale("graph/b", "behind"),)


def test_the_product_of_a_mask_is_not_taken_for_the_scores():
    text = """
    <ir_version: 10, opset_import: ["" : 22]>
    main (float[2,4,8,16] q, float[2,4,16,8] k, float[2,4,8,16] v, float[2,1,8,1] m, float[2,1,1,8] n)
    => (float[2,4,8,16] y) <float[1] s = {0.25}> {
        a = MatMul(q, k) b = Mul(a, s) i = Identity(b) bias = MatMul(m, n) c = Add(bias, i)
        p = Softmax(c) y = MatMul(p, v)
    }
    """
    (core,) = cores(text)
    assert (core.product, core.masks, core.heads) == ("graph/a", (Mask("graph/c", "added"),), 8)


def test_a_soft_cap_takes_the_scalings_directly_around_the_tanh():
    form = Form(
        "a = MatMul(q, k) b = Mul(a, s) c = Div(b, s) d = Tanh(c) e = Mul(d, s) p = Softmax(e) y = MatMul(p, v)", False
    )
    core = core_of(form)
    assert core.softcap == ("graph/c", "graph/d", "graph/e")
    assert core.scales == (Scale("graph/b", "behind"),)


def test_casts_and_what_hands_on_are_told_from_those_at_the_border():
    core = named("qk32, reshape, cast down")
    assert core.casts == ("graph/q1", "graph/e")
    assert core.pass_through == ("graph/r", "graph/t")
    assert core.rim_casts == ("graph/k1",)
    assert core.members == tuple(f"graph/{name}" for name in ("qs", "a", "p", "y", "q1", "e", "r", "t"))


def test_a_guard_against_nan_and_dropout_are_part_of_it():
    assert named("nan guard").guards == ("graph/p",)
    assert named("nan guard").p_v == "graph/y"
    assert named("dropout").pass_through == ("graph/d",)


def test_what_changes_probabilities_is_part_of_it():
    assert named("probabilities times mask").guards == ("graph/w",)
    assert named("probabilities times mask, divided by their sum").guards == ("graph/w", "graph/d")


def test_a_softmax_in_parts_is_its_division():
    core = named("softmax in parts")
    assert (core.softmax, core.normalizing, core.masks) == ("graph/p", ("graph/b", "graph/e"), ())
    assert named("softmax in parts fp32, by reciprocal").normalizing == ("graph/e",)


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param("e = Exp(a) z = ReduceSum<keepdims=1>(e, first) p = Div(e, z)", id="a sum of columns"),
        pytest.param("e = Exp(a) z = ReduceSum<keepdims=1>(a, last) p = Div(e, z)", id="a sum of something else"),
        pytest.param("e = Exp(a) z = ReduceSum<keepdims=1>(e, last) p = Mul(e, z)", id="a product with the sum"),
    ],
)
def test_exponentials_that_are_no_softmax_are_no_core(nodes):
    form = Form(
        f"a = MatMul(q, k) {nodes} y = MatMul(p, v)", False, numbers="int64[1] first = {-2}, int64[1] last = {-1}"
    )
    assert attention_cores(ir.serde.deserialize_model(form.model()).graph) == ()


def test_a_maximum_of_rows_that_only_the_core_reads_is_not_read_elsewhere():
    core = named("row maximum subtracted")
    assert (core.normalizing, core.read_elsewhere) == (("graph/b",), ())
    assert named("maximum of all subtracted").read_elsewhere == ("a",)
    given = Form(
        "a = MatMul(q, k) m = ReduceMax<keepdims=1>(a, ax) b = Sub(a, m) p = Softmax(b) y = MatMul(p, v)",
        False,
        outputs="float16[1,12,128,64] y, float16[1,12,128,1] m",
        numbers="int64[1] ax = {-1}",
    )
    assert core_of(given).read_elsewhere == ("a",)


@pytest.mark.parametrize("repeat", ["Expand(u, es)", "Tile(u, ts)"])
def test_heads_that_are_repeated_are_part_of_it(repeat):
    nodes = f"u = Unsqueeze(k4, ax) e = {repeat} r = Reshape(e, rs) a = MatMul(q, r) p = Softmax(a) y = MatMul(p, v)"
    numbers = "int64[1] ax = {2}, int64[5] es = {1,4,3,64,128}, int64[5] ts = {1,1,3,1,1}, int64[4] rs = {1,12,64,128}"
    core = core_of(Form(nodes, True, QKV + ", float16[1,4,64,128] k4", numbers=numbers))
    assert core.repeats == ("graph/r", "graph/e", "graph/u")
    assert core.pass_through == ()


def test_either_order_of_operands_is_found():
    core = named("transposed axis -2")
    assert (core.transposed, core.head_size, core.value_head_size) == (True, 64, 64)
    assert [link.target for link in core.links][:2] == ["graph/a", "graph/a"]
    assert named("probabilities transposed").transposed
    assert not named("einsum bshd").transposed


def test_the_operand_that_has_the_axis_of_the_softmax_is_k():
    nodes = 'b = Mul(k, s) a = Einsum<equation="bhkd,bhqd->bhqk">(b, q) p = Softmax(a) y = MatMul(p, v)'
    assert scales(nodes.replace("bhkd", "bhdk")) == [("graph/b", "key")]


@pytest.mark.parametrize(
    ("equation", "is_core"), [("bhqk,bhkd->bhqd", True), ("bhqk,bhqd->bhkd", False), ("bhqk,bhkd->bqd", False)]
)
def test_an_einsum_must_sum_over_the_keys_alone(equation, is_core):
    outputs = "float16[1,128,64] y" if equation.endswith("bqd") else "float16[1,12,128,64] y"
    form = Form(f'a = MatMul(q, k) p = Softmax(a) y = Einsum<equation="{equation}">(p, v)', True, outputs=outputs)
    assert len(attention_cores(ir.serde.deserialize_model(form.model()).graph)) == is_core


@pytest.mark.parametrize("form", ["einsum", "einsum bshd", "scale fp32 in front", "rank 3"])
def test_sizes_follow_from_shapes(form):
    core = named(form)
    assert (core.head_size, core.value_head_size, core.heads) == (64, 64, 12)


def test_the_head_size_follows_from_a_reshape_where_shapes_are_not_known():
    text = """
    <ir_version: 10, opset_import: ["" : 22]>
    main (float[a,b,c] x, float[d,e,f,g] k, float[d,e,g,f] v) => (float[d,e,h,f] y) <int64[4] to = {0, 0, 12, 48}> {
        [r] r = Reshape(x, to) [q] q = Transpose<perm=[0,2,1,3]>(r) [a] a = MatMul(q, k)
        [p] p = Softmax(a) [o] y = MatMul(p, v)
    }
    """
    model = ir.serde.deserialize_model(onnx.parser.parse_model(text))
    (core,) = attention_cores(model.graph)
    assert (core.head_size, core.value_head_size, core.heads) == (48, None, None)


def test_types_are_those_that_members_compute_in():
    core = named("softmax fp32 and pv fp32 with cast pair between")
    low, wide = ir.DataType.FLOAT16, ir.DataType.FLOAT
    assert core.element_types == {"graph/a": low, "graph/b": low, "graph/pp": wide, "graph/yy": wide}
    assert [link.element_type for link in core.links] == [low] * 6


def test_scores_that_something_else_reads_are_named_and_their_shape_is_not():
    assert named("raw scores read elsewhere").read_elsewhere == ("a",)
    form = Form("a = MatMul(q, k) z = Shape(a) p = Softmax(a) y = MatMul(p, v)", True)
    assert core_of(form).read_elsewhere == ()


@pytest.mark.parametrize(
    ("domain", "operator", "attributes", "heads", "head_size"),
    [
        ("", "Attention", "q_num_heads=4, kv_num_heads=4", 8, 16),
        ("com.microsoft", "MultiHeadAttention", "num_heads=4", 8, 16),
        ("com.microsoft", "GroupQueryAttention", "num_heads=4, kv_num_heads=2", 8, 16),
        ("com.microsoft", "Attention", "num_heads=4", 8, None),
    ],
)
def test_operators_that_are_attention_are_cores_of_one_node(domain, operator, attributes, heads, head_size):
    name = f"{domain}.{operator}" if domain else operator
    text = f"""
    <ir_version: 10, opset_import: ["" : 23, "com.microsoft" : 1]>
    main (float[2,8,64] q, float[2,8,64] k, float[2,8,64] v, float[2,4,8,8] m) => (float[2,8,64] y) {{
        c = Cast<to=1>(q) y = {name}<{attributes}>(c, k, v, m)
    }}
    """
    (core,) = cores(text)
    assert core.members == ("graph/y",)
    assert (core.operator, core.heads, core.head_size) == (operator, heads, head_size)
    assert core.rim_casts == ("graph/c",)
    assert core.masks == (
        (Mask("graph/y", "added"),) if name == "Attention" or (domain and operator == "Attention") else ()
    )


@pytest.mark.parametrize(
    ("operator", "inputs", "head_size"),
    [
        ("com.microsoft.MultiHeadAttention<num_heads=4>(q)", "float[2,8,4,3,16] q", 16),
        ("com.microsoft.GroupQueryAttention<num_heads=4, kv_num_heads=2>(q)", "float[2,8,128] q", 16),
        (
            "com.microsoft.GroupQueryAttention<num_heads=4, kv_num_heads=2>(q, k, k)",
            "float[2,8,64] q, float[2,8,32] k",
            16,
        ),
    ],
)
def test_the_head_size_of_packed_operands_is_that_of_one_head(operator, inputs, head_size):
    opsets = '["" : 23, "com.microsoft" : 1]'
    (core,) = cores(
        f"<ir_version: 10, opset_import: {opsets}> main ({inputs}) => (float[2,8,64] y) {{ y = {operator} }}"
    )
    assert (core.head_size, core.heads) == (head_size, 8)


def test_an_attention_operator_says_what_v_has_and_whether_it_gives_scores():
    text = """
    <ir_version: 10, opset_import: ["" : 23]>
    main (float[2,4,8,16] q, float[2,4,8,32] v) => (float[2,4,8,32] y, float[2,4,8,8] s) {
        y, , , s = Attention(q, q, v)
    }
    """
    (core,) = cores(text)
    assert (core.head_size, core.value_head_size, core.read_elsewhere) == (16, 32, ("s",))


def test_a_softmax_of_several_axes_is_not_attention():
    nodes = "a = MatMul(q, k) p = Softmax(a) y = MatMul(p, v)"
    assert attention_cores(ir.serde.deserialize_model(Form(nodes, True, opset=11).model()).graph) == ()


def test_products_and_softmax_lie_in_one_graph():
    text = """
    <ir_version: 10, opset_import: ["" : 22]>
    main (bool c, float[1,2,4,9] q, float[1,2,9,4] k, float[1,2,4,9] v) => (float[1,2,4,9] y) {
        s = MatMul(q, k)
        y = If (c) <
            then_branch = a () => (float[1,2,4,9] t) { p = Softmax(s) t = MatMul(p, v) },
            else_branch = b () => (float[1,2,4,9] e) { e = Abs (q) }
        >
    }
    """
    assert attention_cores(ir.serde.deserialize_model(onnx.parser.parse_model(text)).graph) == ()


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param("a = MatMul(x, w) p = Softmax(a) y = Relu(p)", id="a classifier"),
        pytest.param("a = MatMul(x, w) p = Softmax(a) y = MatMul(p, w2)", id="a look-up in a codebook"),
        pytest.param(
            "t = Transpose(w2) a = MatMul(x, t) p = Softmax(a) y = MatMul(p, w2)", id="a look-up by the codebook itself"
        ),
        pytest.param("a = MatMul(x, k) p = Softmax<axis=0>(a) y = MatMul(p, k)", id="a Softmax over slots"),
        pytest.param("a = MatMul(x, k) e = Exp(a) p = Softmax(e) y = MatMul(p, k)", id="an Exp between"),
    ],
)
def test_what_is_not_attention_is_not_found(nodes):
    text = f"""
    <ir_version: 10, opset_import: ["" : 22]>
    main (float[2,2] x, float[2,2] k) => (float[2,2] y)
    <float[2,2] w = {{1,2,3,4}}, float[2,2] w2 = {{1,2,3,4}}> {{ {nodes} }}
    """
    assert cores(text) == ()


def test_a_core_in_a_body_has_the_ids_of_its_body():
    text = """
    <ir_version: 10, opset_import: ["" : 22]>
    main (bool c, float[1,2,4,9] q, float[1,2,9,4] k, float[1,2,4,9] v) => (float[1,2,4,9] y) {
        [choose] y = If (c) <
            then_branch = a () => (float[1,2,4,9] t) {
                [qk] s = MatMul (q, k) [sm] p = Softmax(s) [pv] t = MatMul(p, v)
            },
            else_branch = b () => (float[1,2,4,9] e) { [act] e = Abs (q) }
        >
    }
    """
    (core,) = attention_cores(ir.serde.deserialize_model(onnx.parser.parse_model(text)).graph)
    assert core.members == tuple(f"graph/choose:then_branch/{name}" for name in ("qk", "sm", "pv"))


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("bert_base", 12),
        ("vit_base", 12),
        ("gpt2", 12),
        ("llama_100m", 12),
        ("t5_small", 18),
        ("whisper_encoder", 4),
        ("swin_tiny", 12),
        ("swin_tiny_traced", 12),
        ("unet", 1),
        ("resnet50", 0),
        ("mobilenet_v2", 0),
        ("lstm", 0),
        ("if_loop", 0),
    ],
)
def test_as_many_are_found_in_real_models_as_the_engine_finds(name, count):
    found = attention_cores(ir.serde.deserialize_model(onnx.load(GRAPHS / f"{name}.onnx")).graph)
    assert len(found) == count
    assert all(core.head_size in (None, 32, 64) and not core.transposed for core in found)
    assert len({node for core in found for node in core.members}) == sum(len(core.members) for core in found)
