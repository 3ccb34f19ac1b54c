"""The recipes that come with the project: what they are worth, and that small nets of the family need them."""

import numpy as np
import onnx
import pytest

from autocast_core import ConversionConfig, Precision, convert_file
from autocast_core.backends.onnxruntime import OnnxRuntime
from autocast_core.data import input_specs, open_batches
from autocast_core.evaluate import compare
from autocast_core.graph.walk import all_nodes
from autocast_core.model import load_model
from autocast_core.recipes import DecisionMatcher, library, library_recipe
from autocast_core.sanitize import sanitize
from autocast_core.simulate import simulate
from tests.models import build


@pytest.mark.parametrize("name", library())
def test_what_a_recipe_is_worth_was_measured(name):
    recipe = library_recipe(name)
    assert recipe.name == name
    for measured in recipe.measured:
        assert measured.data == "calibration" and measured.batches >= 4
        assert measured.sqnr_db >= max(40, measured.sqnr_db_all_low + 20)


def texts(rng, *sizes):
    return {f"W{n}": ", ".join(f"{value:.5f}" for value in rng.normal(size=size)) for n, size in enumerate(sizes)}


LOG_MEL = """
<ir_version: 8, opset_import: ["": 17]>
front_end (float[N, 1280] sound) => (float[N, 1, F, 8] mel)
<float[16, 1, 64] cosines = {W0}, float[16, 1, 64] sines = {W1}, float[16, 8] bands = {W2}, int64[1] one = {1},
 float two = {2.0}, float least = {1e-10}>
{
    channel = Unsqueeze(sound, one)
    re = Conv<strides = [32]>(channel, cosines)
    re4 = Unsqueeze(re, one)
    ret = Transpose<perm = [0, 1, 3, 2]>(re4)
    re2 = Pow(ret, two)
    im = Conv<strides = [32]>(channel, sines)
    im4 = Unsqueeze(im, one)
    imt = Transpose<perm = [0, 1, 3, 2]>(im4)
    im2 = Pow(imt, two)
    power = Add(re2, im2)
    energy = MatMul(power, bands)
    floor = Clip(energy, least)
    mel = Log(floor)
}
"""


def log_mel(rng):
    weights = texts(rng, 16 * 64, 16 * 64)
    weights["W2"] = ", ".join(f"{value:.5f}" for value in rng.uniform(0, 0.3, size=128))
    return LOG_MEL, weights, {"sound": 3000 * rng.normal(size=(8, 1280))}


NORM = """
<ir_version: 10, opset_import: ["": 22]>
head (float[N, 12, 8] x) => (float[N, 12, 4] y)
<float[8, 16] mix = {W0}, float[16, 4] last = {W1}, float half = {0.5}, float one = {1.0}, float slope = {0.79788},
 float cubic = {0.04471}, float share = {0.0625}, float none = {0.0}, float least = {1e-6}, int32[3] size = {0, 12, 16},
 int64[1] axis = {2}, int64[3] column = {0, 12, 1}>
{
    m = MatMul(x, mix)
    h = Add(m, one)
    h2 = Mul(h, h)
    h3 = Mul(h, h2)
    c = Mul(cubic, h3)
    inner = Add(h, c)
    scaled = Mul(slope, inner)
    t = Tanh(scaled)
    t1 = Add(one, t)
    th = Mul(half, t1)
    g = Mul(h, th)
    size64 = Cast<to = 7>(size)
    v = Reshape(g, size64)
    sum = ReduceSum<keepdims = 0>(v, axis)
    mean = Mul(sum, share)
    v2 = Mul(v, v)
    sum2 = ReduceSum<keepdims = 0>(v2, axis)
    squares = Mul(sum2, share)
    mean2 = Mul(mean, mean)
    variance = Sub(squares, mean2)
    positive = Max(variance, none)
    guarded = Add(positive, least)
    deviation = Sqrt(guarded)
    means = Reshape(mean, column)
    deviations = Reshape(deviation, column)
    centred = Sub(v, means)
    unit = Div(centred, deviations)
    y = MatMul(unit, last)
}
"""


def mean_of_squares_norm(rng):
    """On real data one feature is large and moves all channels alike: they are far from zero, and vary little."""
    weights = texts(rng, 0, 64)
    weights["W0"] = ", ".join(f"{value:.5f}" for value in (*[0.1] * 16, *rng.normal(size=112)))
    return NORM, weights, {"x": rng.normal(size=(8, 12, 8)) + np.eye(8)[0] * 300}


FAMILIES = {
    ("log-mel", Precision.FP16): (log_mel, 40.0),
    ("mean-of-squares-norm", Precision.BF16): (mean_of_squares_norm, 22.0),
}


@pytest.mark.parametrize(("name", "precision"), FAMILIES)
def test_a_small_net_of_the_family_converted_without_data_needs_its_recipe(name, precision, tmp_path):
    """Random data do not show what real data do; the recipe knows it."""
    make, enough = FAMILIES[name, precision]
    text, weights, data = make(np.random.default_rng(5))
    for key, values in weights.items():
        text = text.replace(f"{{{key}}}", f"{{{values}}}")
    onnx.save(onnx.parser.parse_model(text), tmp_path / "net.onnx")
    arrays = {key: value.astype(np.float32) for key, value in data.items()}
    without, by_recipe = (
        sqnr_db(tmp_path, arrays, ConversionConfig(precision=precision, recipe=recipe)) for recipe in (None, name)
    )
    assert by_recipe >= enough > without + 15


def sqnr_db(folder, arrays, config):
    """Of the net converted without data, on `arrays`, in simulation."""
    convert_file(folder / "net.onnx", folder / "low.onnx", config)
    source, runtime = load_model(folder / "net.onnx"), OnnxRuntime(("cpu",), threads=1)
    batches = open_batches(arrays, input_specs(source))
    sessions = runtime.open(source), runtime.open(simulate(load_model(folder / "low.onnx")), exact=True)
    found = compare(*sessions, batches).worst_batch["sqnr_db"].value
    for session in sessions:
        session.close()
    return found


@pytest.mark.parametrize("name", library())
def test_a_recipe_is_about_few_nodes_of_other_families(name, architectures):
    recipe = library_recipe(name)
    for graphs in architectures.values():
        for precision, graph in graphs.items():
            matcher = DecisionMatcher(recipe.for_type(precision))
            nodes = list(all_nodes(graph))
            found = sum(matcher.match(node, (node.name,)) is not None for node in nodes)
            assert found <= 0.1 * len(nodes)


@pytest.fixture(scope="module")
def architectures(tmp_path_factory):
    """Committed architectures, two layers of each, sanitized."""
    found = {}
    for name in ("llama_100m", "t5_small", "bert_base"):
        model = load_model(build(name, tmp_path_factory.mktemp(name), layers=2).path)
        found[name] = {
            precision: sanitize(model, ConversionConfig(precision=precision)).model.graph
            for precision in (Precision.FP16, Precision.BF16)
        }
    return found
