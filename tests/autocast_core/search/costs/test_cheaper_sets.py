"""Searching for the least traffic in place of the fewest nodes."""

import numpy as np
import onnx
import pytest

from autocast_core.config import ConversionConfig
from autocast_core.data import input_specs, open_batches, table_sizes
from autocast_core.model import load_model, load_proto
from autocast_core.pipeline.job import open_runtime
from autocast_core.sanitize import sanitize
from autocast_core.search import MemoryTrials, SearchRequest, SearchSubject, search
from autocast_core.search.costs.measured_sizes import measured_sizes
from autocast_core.search.costs.set_costs import set_costs
from autocast_core.search.result import CertificateEntry
from autocast_core.search.search_space import search_space
from tests.autocast_core.search.layered import layered
from tests.autocast_core.search.planted import names, searched
from tests.models import ARCHITECTURES, build

CONFIG = ConversionConfig()
RATIO = "fidelity/sqnr_db"
CASTS_A_QUARTER_CHEAPER = frozenset({"if_loop", "llama_100m", "lstm", "mobilenet_v2", "swin_tiny", "vit_base"})


def subject_of(source, batches):
    """A search's subject, and what its sets cost in bytes."""
    model, runtime = sanitize(source, CONFIG).model, open_runtime(CONFIG)
    costs = set_costs(model, search_space(model, CONFIG, {}), "traffic", batches, runtime)
    return SearchSubject(model, batches, runtime, CONFIG, source), costs


def both_searches(subject, costs, beyond=3.0):
    """What the searches for nodes and for traffic cost in bytes: pairs (all, of Casts). Both reach `beyond` dB more
    than the model with everything low."""
    store = MemoryTrials()
    lowest = search(subject, SearchRequest(("sqnr_db>=0",)), trials_store=store).metrics[RATIO]
    found = {}
    for cost in ("nodes", "traffic"):
        result = search(subject, SearchRequest((f"sqnr_db>={lowest + beyond!r}",), cost), trials_store=store)
        assert result.complete and result.metrics[RATIO] >= lowest + beyond
        kept = frozenset(result.kept_fp32)
        found[cost] = costs.of(kept), costs.casts(kept)
    return found["nodes"], found["traffic"]


def of_architecture(name, folder, layers=2):
    """As `subject_of`, of a test model."""
    built = build(name, folder, layers=layers)
    source = load_model(built.path)
    batches = open_batches(built.evaluation, input_specs(source), batch_size=1, table_sizes=table_sizes(source))
    return subject_of(source, batches)


def of_proto(proto, data):
    """As `subject_of`, of a model in memory, with all data in one batch."""
    source = load_proto(proto)
    return subject_of(source, open_batches(data, input_specs(source), batch_size=16))


def test_less_traffic_is_found_than_with_the_fewest_nodes(tmp_path):
    (nodes, node_casts), (traffic, casts) = both_searches(*of_architecture("mobilenet_v2", tmp_path))
    assert traffic < nodes
    assert casts < 0.75 * node_casts


NARROWING = """
<ir_version: 9, opset_import: ["": 18]>
narrowing (float[N, 64] x) => (float[N, 4] y) <float[4] one = {1, 1, 1, 1}, float c = {1.7}> {
    [twice] a = Add(x, x) [narrow] b = MatMul(a, w) [shift] d = Add(b, c) [bend] e = Tanh(d) [again] f = Add(e, e)
    [norm] g = LayerNormalization(f, one) [norm2] h = LayerNormalization(g, one) [wave] i = Sin(h) [end] y = Tanh(i)
}
"""


def test_where_the_fewest_nodes_move_less_than_the_best_trade_offs_they_are_the_start():
    rng = np.random.default_rng(0)
    proto = onnx.parser.parse_model(NARROWING)
    weights = (rng.normal(size=(64, 4)) / 4).astype("f4")
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    data = {"x": rng.normal(size=(16, 64)).astype("f4")}
    (nodes, _), (traffic, _) = both_searches(*of_proto(proto, data))
    assert traffic <= nodes


def test_of_equal_layers_only_those_that_matter_are_kept_for_less_traffic():
    proto, data = layered(8)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.02), "near"))
    for node in proto.graph.node:
        layer, _, role = node.name.removeprefix("l").partition("_")
        if role in ("shift", "back") and int(layer) >= 2:
            node.input[1] = "near"
    (nodes, _), (traffic, _) = both_searches(*of_proto(proto, data), beyond=10.0)
    assert traffic <= nodes


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_less_traffic_is_never_costlier_and_its_casts_a_quarter_cheaper_on_many_models(name, tmp_path):
    (nodes, node_casts), (traffic, casts) = both_searches(*of_architecture(name, tmp_path))
    assert traffic <= nodes
    assert casts <= 0.75 * node_casts or name not in CASTS_A_QUARTER_CHEAPER


def test_the_certificate_says_what_each_node_costs_and_buys(planted):
    found = searched(*planted, "sqnr_db>=55", "no_new_nonfinite", cost="traffic")
    assert found.complete and found.certificate
    for entry in found.certificate:
        assert entry.unit == "bytes"
        assert entry.failing or entry.costs <= 0
        assert entry.buys_db is None or entry.failing == () or entry.buys_db > 0
    decision = found.plan.by_id()[found.certificate[0].node]
    assert any("costs" in each.detail or "saves" in each.detail for each in decision.evidence)


def test_of_a_search_for_few_nodes_each_costs_one(planted):
    found = searched(*planted, "sqnr_db>=55", "no_new_nonfinite")
    assert {(entry.costs, entry.unit) for entry in found.certificate} == {(1.0, "nodes")}
    assert "costs 1 node and" in found.certificate[0].price()


@pytest.mark.parametrize(
    ("costs", "unit", "buys", "words"),
    [
        (-12288.0, "bytes", 1.026, "saves 12,288 bytes of Casts beside it and buys 1.03 dB"),
        (-3.25, "µs", -0.5, "saves 3.25 µs of kernels around it and loses 0.50 dB"),
        (0.0683, "µs", None, "costs 0.0683 µs"),
    ],
)
def test_the_price_of_a_node_is_said_in_words(costs, unit, buys, words):
    assert CertificateEntry("n", ("n",), (), {}, costs=costs, unit=unit, buys_db=buys).price() == words


SHIFTED = """
<ir_version: 9, opset_import: ["": 18]>
shifted (float[N, 64] x) => (float[N, 64] y) <float far = {3000}, float scale = {1}> {
    [s] a = Sin(x) [there] b = Add(a, far) [between] c = Mul(b, scale) [over] d = Neg(c) [back] e = Add(d, far)
    [end] f = Tanh(e) [last] y = Sin(f)
}
"""


def test_a_node_between_two_needed_ones_is_kept_where_casts_cost_more():
    """Between `there` and `back` the values lie near 3,000: all that is there must be FP32, cast once at either end."""
    data = {"x": np.random.default_rng(0).normal(size=(8, 64)).astype("f4")}
    found = searched(onnx.parser.parse_model(SHIFTED), data, "sqnr_db>=50", cost="traffic")
    assert {"there", "between", "over", "back"} <= names(found.kept_fp32)


OPEN = """
<ir_version: 9, opset_import: ["": 18]>
open (float[N, M] x) => (float[K] y) <int64[1] flat = {-1}, int64 first = {0}> {
    [pick] i = NonZero(x) [row] j = Gather <axis = 0> (i, first) [take] t = Gather <axis = 0> (x, j)
    [flatten] f = Reshape(t, flat) [end] y = Sin(f)
}
"""


def test_sizes_that_shapes_do_not_tell_are_measured():
    model = sanitize(load_proto(onnx.parser.parse_model(OPEN)), CONFIG).model
    found = measured_sizes(model, {"x": np.array([[1, 0], [2, 3]], "f4")}, open_runtime(CONFIG))
    assert {name: found[name] for name in ("j", "t", "f", "y")} == {"j": 3, "t": 6, "f": 6, "y": 6}
