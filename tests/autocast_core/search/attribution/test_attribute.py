"""Local errors and shares against numbers computed by hand in numpy."""

import numpy as np
import onnx
import pytest

from autocast_core.config import ConversionConfig, Precision
from autocast_core.data import input_specs, open_batches
from autocast_core.graph.walk import nodes_with_ids
from autocast_core.model import load_proto
from autocast_core.operators import OperandPolicy
from autocast_core.pipeline.job import open_runtime
from autocast_core.search import Attribution, attribute
from tests.autocast_core.search.planted import BRANCHES

RNG = np.random.default_rng(3)


def attributed(text, precision="fp16", options=None, **arrays):
    precision = Precision(precision)
    model = load_proto(onnx.parser.parse_model(text))
    config = ConversionConfig(precision=precision, **(options or {}))
    batches = open_batches(arrays, input_specs(model), batch_size=4)
    chosen = {f"graph/{node.name}": precision for node in model.graph}
    return attribute(model, chosen, precision, OperandPolicy.of_config(model, config), batches, open_runtime(config))


def by_name(attribution):
    return {node.id.removeprefix("graph/"): node for node in attribution.nodes}


def rounded(array):
    return array.astype(np.float16).astype(np.float32)


CHAIN = """
<ir_version: 9, opset_import: ["": 18]>
chain (float[N, 8] x) => (float[N, 8] y) <float k = {3.3}> { [scale] h = Mul(x, k) [wave] y = Sin(h) }
"""


def test_the_local_error_is_that_of_the_node_alone():
    x = RNG.normal(size=(8, 8)).astype("f4") * 20
    wave = by_name(attributed(CHAIN, x=x))["wave"]
    exact = np.sin(x * np.float32(3.3))
    alone = rounded(np.sin(rounded(x * np.float32(3.3))))
    expected = np.linalg.norm(alone - exact) / np.linalg.norm(exact)
    assert wave.local == pytest.approx(expected, rel=1e-4)


def test_the_predicted_error_is_that_of_the_lowered_model():
    x = RNG.normal(size=(8, 8)).astype("f4") * 20
    found = attributed(CHAIN, x=x)
    exact = np.sin(x * np.float32(3.3))
    low = rounded(np.sin(rounded(rounded(x) * rounded(np.float32(3.3)))))
    assert found.rel_l2 == pytest.approx(np.linalg.norm(low - exact) / np.linalg.norm(exact), rel=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"trt_plugins_precision": ("Mul:[fp16,fp32]:[fp32]",)},
        {"operands_to_exclude": {"Mul": {"inp": [1]}}},
    ],
    ids=["a plugin's second input and output", "blocked operands"],
)
def test_operands_that_stay_fp32_are_attributed_as_such(options):
    x = RNG.normal(size=(8, 8)).astype("f4") * 20
    found = attributed(CHAIN, options=options, x=x)
    exact = np.sin(x * np.float32(3.3))
    product = (rounded(x) if "trt_plugins_precision" in options else x) * np.float32(3.3)
    low = rounded(np.sin(rounded(product)))
    assert found.rel_l2 == pytest.approx(np.linalg.norm(low - exact) / np.linalg.norm(exact), rel=1e-3)


def test_shares_add_up_to_one():
    found = attributed(CHAIN, x=RNG.normal(size=(8, 8)).astype("f4"))
    assert sum(node.share for node in found.nodes) == pytest.approx(1.0)
    assert sum(found.sites.values()) == pytest.approx(1.0)


def test_rounding_an_input_goes_only_with_all_its_readers():
    found = attributed(
        """
        <ir_version: 9, opset_import: ["": 18]>
        fork (float[N, 8] x) => (float[N, 8] y, float[N, 8] z) { [one] y = Sin(x) [two] z = Cos(x) }
        """,
        x=RNG.normal(size=(8, 8)).astype("f4") * 100,
    )
    assert max(found.sites, key=found.sites.__getitem__) == {"graph/one", "graph/two"}


def test_operators_that_only_move_numbers_stand_between_without_an_error_of_their_own():
    found = attributed(
        """
        <ir_version: 9, opset_import: ["": 18]>
        moved (float[N, 8] x) => (float[N, 8] y) <float k = {2.1}>
        { [scale] h = Mul(x, k) [relu] r = Relu(h) [turn] t = Transpose <perm = [0, 1]> (r) [sin] y = Sin(t) }
        """,
        x=RNG.normal(size=(8, 8)).astype("f4") * 200,
    )
    together = frozenset(f"graph/{name}" for name in ("scale", "relu", "turn", "sin"))
    assert together in found.sites
    assert not any(site < together and "graph/turn" in site for site in found.sites)


def test_errors_are_followed_through_quantized_values():
    found = attributed(
        """
        <ir_version: 9, opset_import: ["": 19]>
        quantized (float[N, 64] x) => (float[N, 64] y) <float k = {3.3}, float step = {0.02}, int8 zero = {0}>
        { [scale] h = Mul(x, k) [quantize] q = QuantizeLinear(h, step, zero) [back] d = DequantizeLinear(q, step, zero)
          [relu] y = Relu(d) }
        """,
        x=RNG.uniform(-0.5, 0.5, (64, 64)).astype("f4"),
    )
    nodes = by_name(found)
    assert nodes["scale"].share > 0.1 and nodes["quantize"].share > 0.1
    assert nodes["relu"].share < 0.1


@pytest.mark.parametrize("behind", ["", "[turn] t = Transpose(y) [choose] z = Gather(k, t)"])
def test_where_the_number_of_results_depends_on_data_what_decides_it_is_to_blame(behind):
    found = attributed(
        f"""
        <ir_version: 9, opset_import: ["": 18]>
        boxes (float[1, 2, 4] b, float[1, 1, 2] x) => (int64[K, M] {"z" if behind else "y"})
        <float gain = {{3.3}}, int64[1] most = {{2}}, int64[4] k = {{4, 5, 6, 7}}>
        {{ [scale] s = Mul(x, gain) [choose_boxes] y = NonMaxSuppression(b, s, most) {behind} }}
        """,
        b=np.array([[[0, 0, 1, 1], [0, 3, 1, 4]]], "f4"),
        x=np.array([[[0.31, 0.7]]], "f4"),
    )
    shares = {node.id: node.share for node in found.nodes}
    assert shares["graph/scale"] == pytest.approx(1.0)
    assert found.rel_l2 == 0.0


def test_overflow_and_underflow_are_counted():
    x = np.array([[1.0, 100.0, 1e-3, -100.0]] * 2, np.float32)
    found = by_name(
        attributed(
            """
            <ir_version: 9, opset_import: ["": 18]>
            far (float[N, 4] x) => (float[N, 4] y, float[N, 4] z) <float k = {1000.0}, float l = {0.00001}>
            { [up] y = Mul(x, k) [down] z = Mul(x, l) }
            """,
            x=x,
        )
    )
    assert (found["up"].overflow, found["up"].underflow) == (4, 0)
    assert (found["down"].overflow, found["down"].underflow) == (0, 2)


def test_bf16_has_its_own_rounding():
    x = RNG.normal(size=(8, 8)).astype("f4")
    newer = CHAIN.replace("18", "22")  # the first opset at which Sin takes bfloat16
    fp16, bf16 = (by_name(attributed(newer, precision, x=x))["wave"].local for precision in ("fp16", "bf16"))
    assert 4 < bf16 / fp16 < 16


def test_nan_in_the_exact_model_is_named():
    found = attributed(
        """
        <ir_version: 9, opset_import: ["": 18]>
        bad (float[N, 4] x) => (float[N, 4] y) { [root] h = Sqrt(x) [relu] y = Relu(h) }
        """,
        x=-np.ones((2, 4), np.float32),
    )
    assert found.nan[0] == "h"


def test_what_happens_in_a_body_belongs_to_its_nodes():
    model = load_proto(onnx.parser.parse_model(BRANCHES))
    low = {node_id: Precision.FP16 for node_id, _ in nodes_with_ids(model.graph)}
    data = {"x": RNG.normal(size=(4, 4)).astype("f4"), "c": np.array(True)}
    batches = open_batches(data, input_specs(model), batch_size=4)
    policy = OperandPolicy(model.opset_imports)
    found = attribute(model, low, Precision.FP16, policy, batches, open_runtime(ConversionConfig()))
    assert found.skipped is None
    shares = {node.id: node.share for node in found.nodes}
    assert shares["graph/choice:then_branch/big"] > shares["graph/first"]
    assert sum(shares.values()) == pytest.approx(1.0)


def test_nodes_in_the_body_of_a_node_that_stays_fp32_are_to_blame_for_what_they_round():
    text = """
    <ir_version: 9, opset_import: ["": 18]>
    amplified (float[N, 8] x) => (float[N, 8] y) <int64 steps = {12}, bool yes = {1}>
    {
        [repeat] y = Loop(steps, yes, x) <body = b (int64 i, bool go, float[N, 8] s) => (bool more, float[N, 8] t) {
            more = Identity(go) [rate] r = Constant<value_float = 3.9>() [one] o = Constant<value_float = 1.0>()
            [rest] d = Sub(o, s) [product] p = Mul(s, d) [scale] t = Mul(p, r) }>
    }
    """
    inner = "graph/repeat:body/product"
    model, config = load_proto(onnx.parser.parse_model(text)), ConversionConfig()
    batches = open_batches({"x": RNG.uniform(0.1, 0.9, (8, 8)).astype("f4")}, input_specs(model), batch_size=4)
    policy = OperandPolicy.of_config(model, config)
    low = {inner: Precision.FP16}
    found = attribute(model, low, Precision.FP16, policy, batches, open_runtime(config))
    assert {node.id: node.share for node in found.nodes} == {inner: pytest.approx(1.0)}


def test_an_attribution_survives_json():
    found = attributed(CHAIN, x=RNG.normal(size=(8, 8)).astype("f4"))
    assert Attribution.from_json(found.to_json()) == found
