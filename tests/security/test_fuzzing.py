"""Every reader on damaged and made-up input: one of our errors in one line, or a value; no crash, no hang.

Two minutes in CI, with --nightly some ten.
"""

import base64
import functools
import hashlib
import hmac
import io
import json
import uuid

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from autocast_core.calibrate import InputSpec, open_batches
from autocast_core.calibrate.weights import scan_weights
from autocast_core.classify import classify
from autocast_core.config import ConversionConfig, Precision
from autocast_core.errors import AutocastError
from autocast_core.model import load_model
from autocast_core.plan import PrecisionPlan
from autocast_core.sanitize import sanitize
from autocast_core.verify import check_source
from flows.bridge.delivery import RefusedError, check, read
from flows.fleet import read_fleet
from flows.spec import load_spec, make_spec

pytestmark = [pytest.mark.security, pytest.mark.xdist_group("fuzzing")]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)
EDITS = st.lists(st.tuples(st.integers(0, 1 << 16), st.binary(min_size=0, max_size=8)), max_size=6)


def fuzz(nightly, examples, strategy, judge):
    """Runs `judge` on many examples; one of our errors is an answer, and has one line. Returns how many there were."""
    count = [0]
    many = examples * (40 if nightly else 1)

    @settings(max_examples=many, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def run(example):
        count[0] += 1
        try:
            judge(example)
        except (AutocastError, RefusedError) as error:
            assert "\n" not in str(error)
            assert len(str(error)) < 2000

    run()
    return count[0]


def edited(data, edits):
    for position, replacement in edits:
        position %= len(data) + 1
        data = data[:position] + replacement + data[position + len(replacement) :]
    return data


@functools.cache
def seeds():
    """Small models that between them use every kind of message."""
    texts = (
        "g (float[1,64] x) => (float[1,64] y) { z = MatMul (x, w) y = Softmax <axis = -1> (z) }",
        "g (float[2] x, bool c) => (float[2] y) { y = If (c) <then_branch = t () => (float[2] a) { a = Relu (x) }, "
        "else_branch = e () => (float[2] b) { b = Neg (x) }> }",
        "g (float[2] x) => (float[2] y) { k = Constant <value = float[2] {1, 65505}> () y = Mul (x, k) }",
    )
    models = [onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 17]> {text}') for text in texts]
    models[0].graph.initializer.append(numpy_helper.from_array(np.ones((64, 64), np.float32), "w"))
    return tuple(model.SerializeToString() for model in models)


def test_the_model_reader(tmp_path, trial, nightly):
    path, config = tmp_path / "m.onnx", ConversionConfig()

    def judge(example):
        seed, edits, cut = example
        data = edited(seeds()[seed], edits)
        path.write_bytes(data[: len(data) - cut] if cut < 40 else data)
        model = load_model(path)
        check_source(model)
        graph = sanitize(model, config).model
        classify(graph, statistics(), scan_weights(graph, Precision.FP16), config)

    strategy = st.tuples(st.integers(0, 2), EDITS, st.integers(0, 200))
    trial("fuzzing: model reader to plan", fuzz(nightly, 250, strategy, judge), "refused or planned")


@functools.cache
def statistics():
    from autocast_core.calibrate import Statistics

    return Statistics()


def test_the_calibration_readers(tmp_path, trial, nightly):
    stored = io.BytesIO()
    np.savez(stored, x=np.arange(12, dtype=np.float32).reshape(3, 4), labels=np.arange(3))
    archive = stored.getvalue()
    single = io.BytesIO()
    np.save(single, np.ones((2, 4), np.float32))
    feed = json.dumps([{"x": {"polygraphy_class": "ndarray", "array": base64.b64encode(single.getvalue()).decode()}}])

    def judge(example):
        kind, edits, made = example
        path = tmp_path / ("d.npz" if kind == 0 else "d.json")
        if kind == 2:
            path.write_text(json.dumps(made), encoding="utf-8", errors="replace")
        else:
            path.write_bytes(edited(archive if kind == 0 else feed.encode(), edits))
        batches = open_batches(path, [InputSpec("x", ir.DataType.FLOAT, ("N", 4))])
        for batch in batches:
            assert batch["x"].dtype == np.float32
        assert batches.labels is None or len(batches.labels) >= 0

    strategy = st.tuples(st.integers(0, 2), EDITS, JSON)
    trial("fuzzing: calibration readers", fuzz(nightly, 300, strategy, judge), "refused or read")


def test_the_plan_reader(trial, nightly):
    whole = json.loads(a_plan())

    def judge(example):
        kind, edits, made, path = example
        if kind == 0:
            text = edited(a_plan().encode(), edits).decode(errors="replace")
        else:
            text = json.dumps(_put(whole, path, made) if kind == 1 else made)
        PrecisionPlan.from_json(text).to_json()

    strategy = st.tuples(st.integers(0, 2), EDITS, JSON, st.lists(st.integers(0, 9), max_size=4))
    trial("fuzzing: plan reader", fuzz(nightly, 400, strategy, judge), "refused or read")


@functools.cache
def a_plan():
    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 17]> g (float[2] x) => (float[2] y)'
        " { k = Constant <value = float[2] {1, 65505}> () y = Mul (x, k) }"
    )
    from autocast_core.model import load_proto

    graph = sanitize(load_proto(model), ConversionConfig()).model
    return classify(graph, statistics(), scan_weights(graph, Precision.FP16), ConversionConfig()).to_json()


def _put(value, path, made):
    """`value` with `made` in the place that `path` leads to."""
    if not path or not isinstance(value, dict | list) or not value:
        return made
    if isinstance(value, list):
        index = path[0] % len(value)
        return [_put(item, path[1:], made) if position == index else item for position, item in enumerate(value)]
    key = sorted(value)[path[0] % len(value)]
    return {**value, key: _put(value[key], path[1:], made)}


def test_the_spec_and_the_fleet_file(tmp_path, trial, nightly):
    from flows.spec import Spec

    names = st.sampled_from(sorted(Spec.model_fields))
    words = st.text(alphabet="abx:,[]{}&*!|>-?'\"# \n\t0123456789._~<=%@\x00é\ud800", max_size=60)

    def judge(example):
        made, text = example
        make_spec(made, "fuzz").config()
        for reader in (lambda path: load_spec(path, {}), read_fleet):
            path = tmp_path / "s.yaml"
            path.write_text(text, encoding="utf-8", errors="surrogatepass")
            reader(path)

    strategy = st.tuples(st.dictionaries(names, JSON, max_size=3), st.one_of(words, JSON.map(json.dumps)))
    trial("fuzzing: spec and fleet file", fuzz(nightly, 300, strategy, judge), "refused or read")

    def texts(text):
        judge(({}, text))

    started = st.tuples(st.sampled_from(sorted(Spec.model_fields)), words).map(lambda pair: f"{pair[0]}: {pair[1]}")
    trial("fuzzing: YAML", fuzz(nightly, 300, started | words, texts), "refused or read")


def test_the_bridges_delivery(trial, nightly):
    secret, now = "s" * 16, 1_700_000_000.0

    def judge(example):
        made, raw, headers = example
        read(raw)
        read(json.dumps(made).encode())
        check(headers, raw, secret, now, 300.0)

    names = st.sampled_from(["x-mlflow-delivery-id", "x-mlflow-timestamp", "x-mlflow-signature"])
    headers = st.dictionaries(names, st.text(max_size=40), max_size=3)
    events = st.fixed_dictionaries(
        {"entity": st.text(max_size=9), "action": st.text(max_size=9), "timestamp": JSON, "data": JSON}
    )
    strategy = st.tuples(JSON | events, st.binary(max_size=200), headers)
    trial("fuzzing: deliveries", fuzz(nightly, 400, strategy, judge), "refused or read")

    def forge(example):
        identifier, stamp, text = example
        right = base64.b64encode(hmac.new(secret.encode(), b"a.b.c", hashlib.sha256).digest()).decode()
        for signature in (text, f"v1,{text}", f"v1,{right}", f"v2,{right}", "v1," * 50):
            with pytest.raises(RefusedError):
                check(
                    {
                        "x-mlflow-delivery-id": identifier,
                        "x-mlflow-timestamp": stamp,
                        "x-mlflow-signature": signature,
                    },
                    b"{}",
                    secret,
                    now,
                    300.0,
                )

    words = st.text(max_size=60)
    identifiers = words | st.just(str(uuid.UUID(int=1)))
    stamps = words | st.just(str(int(now)))
    trial("fuzzing: forged signatures", fuzz(nightly, 200, st.tuples(identifiers, stamps, words), forge) * 5, "refused")
