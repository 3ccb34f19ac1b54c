"""Every reader on damaged and made-up input: one of our errors in one line, or a value; no crash, no hang, no memory.

Each reader gets the same few hundred examples by day, and with --nightly others for a minute or two (ten in all). They
work in an isolated process, whose limits of memory and time are what says that there was a hang or a flood.
"""

import base64
import functools
import hashlib
import hmac
import io
import json
import random
import time
import uuid
import zipfile

import numpy as np
import onnx.parser
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from autocast_core.errors import AutocastError
from flows.request.spec import Spec
from tasks.isolation import ProcessLimits, StageBugError, StageDiedError, isolated, isolation
from tests.security import readers
from tests.security.protobuf_edits import damaged

pytestmark = [pytest.mark.security, pytest.mark.xdist_group("fuzzing"), pytest.mark.timeout(900)]
pytestmark += [pytest.mark.filterwarnings("ignore:Duplicate name")]
LIMITS = ProcessLimits(memory_bytes=1 << 30, stage_seconds=20.0, file_bytes=64 << 20)
ROUNDS, EXAMPLES = 3, 50
NIGHTLY_SECONDS = 60.0

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)
EDITS = st.lists(st.tuples(st.integers(0, 1 << 16), st.binary(min_size=0, max_size=8)), max_size=6)
STEP = st.tuples(st.integers(0, 1 << 12), st.integers(0, 64), st.integers(0, 1 << 12))
WORDS = st.text(alphabet="abx:,[]{}&*!|>-?'\"# \n\t0123456789._~<=%@\x00é\ud800", max_size=60)


@pytest.fixture(scope="module")
def limited():
    with isolation(LIMITS):
        yield


@pytest.fixture
def fuzz(limited, nightly, trial):
    """`fuzz(what, reader, strategy, share)`: calls the reader with what the strategy makes, as long as its share of the
    time lasts, and notes what came of it. `crashes`: of a library's own code below it; they stay in the process."""

    def run(what, reader, strategy, share=1.0, crashes=False):
        count = dict.fromkeys(("read", "refused", "crashes of a library"), 0)
        call = isolated(reader, object)

        def judge(arguments):
            try:
                call(*arguments)
                count["read"] += 1
            except (StageDiedError, StageBugError) as error:
                if not (crashes and " crashed (SIG" in str(error)):
                    raise
                count["crashes of a library"] += 1
            except AutocastError as error:
                assert error.exit_code == 2, repr(error)
                assert str(error).isprintable() and len(str(error)) < 2000, str(error)
                count["refused"] += 1

        # The same examples each time by day, others each night.
        for number in _by_the_clock(NIGHTLY_SECONDS * share) if nightly else range(round(ROUNDS * share)):
            seed(number)(_tried(strategy, judge))()
        most = isolated(readers.peak, int)() >> 10
        outcomes = ", ".join(f"{times} {outcome}" for outcome, times in count.items() if times)
        trial(f"fuzzing: {what}", sum(count.values()), f"{outcomes}; at most {most} MiB")

    return run


def _by_the_clock(seconds):
    """Numbers, from one that chance gives on, until the time is over."""
    number, until = random.SystemRandom().randrange(1 << 32), time.monotonic() + seconds
    while time.monotonic() < until:
        number += 1
        yield number


def _tried(strategy, judge):
    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def tried(arguments):
        judge(arguments)

    return tried


def edited(data, edits):
    for position, replacement in edits:
        position %= len(data) + 1
        data = data[:position] + replacement + data[position + len(replacement) :]
    return data


TEXTS = (
    "g (float[1,64] x) => (float[1,64] y) { z = MatMul (x, w) y = Softmax <axis = -1> (z) }",
    "g (float[2] x, bool c) => (float[2] y) { y = If (c) <then_branch = t () => (float[2] a) { a = Relu (x) }, "
    "else_branch = e () => (float[2] b) { b = Neg (x) }> }",
    "g (float[2] x) => (float[2] y) { k = Constant <value = float[2] {1, 65505}> () y = Mul (x, k) }",
    "g (float[2] x, int64 n, bool t) => (float[2] y) { y = Loop <body = b (int64 i, bool c, float[2] s) => (bool d, "
    "float[2] r) { d = Identity (c) r = Add (s, x) }> (n, t, x) }",
    "g (float[N,3,8,8] x) => (float[N,3,16,16] y, double[N,3,8,8] z) { r = Constant <value = float[0] {}> () s = "
    'Constant <value = float[4] {1, 1, 2, 2}> () y = Resize <mode = "linear"> (x, r, s) z = Cast <to = 11> (x) }',
    "g (float[N,4] x) => (float[N,4] y) { m = ReduceMean <axes = [-1]> (x) d = Sub (x, m) q = Mul (d, d) v = "
    "ReduceMean <axes = [-1]> (q) e = Constant <value = float {1e-5}> () a = Add (v, e) s = Sqrt (a) y = Div (d, s) }",
    "g (float[2,3] x, seq(float[2]) l) => (float[2,3] y, int64 n) { y = f.twice (x) n = SequenceLength (l) }\n"
    '<domain: "f", opset_import: ["" : 17]> twice (a) => (b) { b = Add (a, a) }',
)


@functools.cache
def seeds():
    """Small models that between them use every kind of message."""
    head = '<ir_version: 9, opset_import: ["" : 17, "f" : 1], metadata_props: ["a": "b"]>'
    models = [onnx.parser.parse_model(f"{head} {text}") for text in TEXTS]
    models[0].graph.initializer.append(numpy_helper.from_array(np.ones((64, 64), np.float32), "w"))
    models[2].graph.initializer.add(name="e", data_type=1, dims=[2], data_location=1).external_data.add(
        key="location", value="w.bin"
    )
    sparse = models[5].graph.sparse_initializer.add(dims=[4])
    sparse.values.CopyFrom(numpy_helper.from_array(np.ones(2, np.float32), "sp"))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.arange(2), "i"))
    return tuple(model.SerializeToString() for model in models)


@functools.cache
def operator_cases():
    """ONNX's own cases, an operator each."""
    from onnx.backend.test.case.node import collect_testcases

    models = (case.model.SerializeToString() for case in collect_testcases(None))
    return tuple(sorted((model for model in models if len(model) < 5000), key=len))


def test_models_with_flipped_bytes(fuzz):
    def made(example):
        number, edits, cut = example
        data = edited(seeds()[number], edits)
        return (data[: len(data) - cut] if cut < 40 else data,)

    strategy = st.tuples(st.integers(0, len(TEXTS) - 1), EDITS, st.integers(0, 200)).map(made)
    fuzz("models, bytes", readers.model, strategy)


def test_models_with_damaged_fields(fuzz):
    strategy = st.tuples(st.integers(0, len(TEXTS) - 1), st.lists(STEP, min_size=1, max_size=6))
    models = strategy.map(lambda made: (damaged(seeds()[made[0]], made[1]),))
    fuzz("models, fields", readers.model, models, 2.0, crashes=True)


def test_operators_with_damaged_fields(fuzz, nightly):
    if not nightly:
        pytest.skip("ONNX's 1,300 operator cases take a while to make: with --nightly")
    cases = operator_cases()
    strategy = st.tuples(st.integers(0, len(cases) - 1), st.lists(STEP, max_size=4))
    models = strategy.map(lambda made: (damaged(cases[made[0]], made[1]),))
    fuzz("operators, fields", readers.model, models, 2.0, crashes=True)


HEADER = st.tuples(
    st.sampled_from(
        ["<f4", "<f8", ">f4", "<i8", "|b1", "<f2", "|O", "|S4", "<U2", "<m8[ns]", "V8", "<c16", "f", "", "é"]
    ),
    st.lists(st.sampled_from([0, 1, 3, 4, -1, 2**31, 2**62, 2**64]) | st.integers(-9, 9), max_size=40),
    st.booleans(),
    st.sampled_from([b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00", b""]),
    st.integers(-200, 200),
    st.binary(max_size=64),
)


def npy(described):
    """An array file as its header says, or not."""
    kind, shape, fortran, version, off, content = described
    text = (
        f"{{'descr': {kind!r}, 'fortran_order': {fortran}, 'shape': ({''.join(f'{n},' for n in shape)}), }}\n".encode()
    )
    length = max(0, len(text) + (off if abs(off) > 150 else 0))
    return b"\x93NUMPY" + version + length.to_bytes(2 if version == b"\x01\x00" else 4, "little") + text + content


def npz(members, method):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def polygraphy(array):
    """The array as Polygraphy's JSON holds it."""
    text = base64.b64encode(array).decode()
    return json.dumps([{"x": {"polygraphy_class": "ndarray", "array": text}}]).encode()


def test_calibration_files(fuzz):
    stored, single = io.BytesIO(), io.BytesIO()
    np.savez(stored, x=np.arange(12, dtype=np.float32).reshape(3, 4), labels=np.arange(3))
    np.save(single, np.ones((2, 4), np.float32))
    feed = polygraphy(single.getvalue())
    names = st.sampled_from(["x.npy", "labels.npy", "x", "../x.npy", "X.npy", "\u202e.npy"])
    methods = st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    archives = st.tuples(st.lists(st.tuples(names, HEADER.map(npy)), max_size=3), methods)
    strategy = st.one_of(
        EDITS.map(lambda edits: (edited(stored.getvalue(), edits), ".npz")),
        archives.map(lambda made: (npz(*made), ".npz")),
        EDITS.map(lambda edits: (edited(feed, edits), ".json")),
        HEADER.map(lambda made: (polygraphy(npy(made)), ".json")),
        JSON.map(lambda made: (json.dumps(made).encode(), ".json")),
    )
    fuzz("calibration files", readers.batches, strategy)


def test_plans(fuzz):
    whole = json.loads(readers.a_plan())

    def made(example):
        kind, edits, value, path = example
        if kind == 0:
            return (edited(readers.a_plan().encode(), edits).decode(errors="replace"),)
        return (json.dumps(_put(whole, path, value) if kind < 4 else value),)

    values = JSON | st.sampled_from(["fp16", "fp32", "bf16", "none", "graph/x", {}, [], -1, True])
    strategy = st.tuples(st.integers(0, 4), EDITS, values, st.lists(st.integers(0, 9), max_size=4))
    fuzz("plans", readers.plan, strategy.map(made))


def _put(value, path, made):
    """`value` with `made` in the place that `path` leads to."""
    if not path or not isinstance(value, dict | list) or not value:
        return made
    if isinstance(value, list):
        index = path[0] % len(value)
        return [_put(item, path[1:], made) if position == index else item for position, item in enumerate(value)]
    key = sorted(value)[path[0] % len(value)]
    return {**value, key: _put(value[key], path[1:], made)}


def test_spec_and_fleet_files(fuzz):
    names = st.sampled_from([*sorted(Spec.model_fields), "models", "spec", "output"])
    started = st.tuples(names, WORDS | JSON.map(json.dumps)).map(lambda pair: f"{pair[0]}: {pair[1]}")
    files = st.one_of(WORDS, JSON.map(json.dumps), started, st.lists(started, max_size=4).map("\n".join))
    fuzz("spec and fleet files", readers.yaml, files.map(lambda text: (text.encode(errors="surrogatepass"),)))


def test_options(fuzz):
    names = st.sampled_from(sorted(Spec.model_fields)) | st.text(max_size=8)
    fuzz("options", readers.spec, st.tuples(st.dictionaries(names, JSON, max_size=3)), 0.6)


def test_tags_and_locations(fuzz):
    names = st.sampled_from([f"autocast.{name}" for name in ("precision", "spec", "calibration", "name", "evaluation")])
    specs = st.dictionaries(st.sampled_from(sorted(Spec.model_fields)), JSON, max_size=3).map(json.dumps)
    texts = st.one_of(WORDS, specs, st.sampled_from(["fp16", "s3://a/b", "s3://", "models:/", "file:///etc/passwd"]))
    fuzz("tags", readers.tags, st.tuples(st.dictionaries(names, texts, max_size=4)), 0.6)
    schemes = st.sampled_from(["", "s3://", "file://", "models:/", "http://", "s3:/", "//", "s3://a/b?versionId="])
    places = st.tuples(schemes, st.text(max_size=40)).map(lambda pair: ("".join(pair),))
    fuzz("locations", readers.location, places, 0.4)


HEADERS = st.text(st.characters(codec="latin-1"), max_size=60)
SECRET, NOW = "s" * 16, 1_700_000_000.0
NAMES = ("x-mlflow-delivery-id", "x-mlflow-timestamp", "x-mlflow-signature")


def test_deliveries(fuzz):
    data = st.fixed_dictionaries({"name": st.text(max_size=9)}, optional={"version": JSON, "key": JSON, "alias": JSON})
    events = st.fixed_dictionaries(
        {
            "entity": st.sampled_from(["model_version", "model_version_tag"]) | st.text(max_size=9),
            "action": st.sampled_from(["created", "set"]) | st.text(max_size=9),
            "timestamp": st.just("2027-01-15T08:00:00Z") | JSON,
            "data": data | JSON,
        }
    )
    bodies = st.one_of((JSON | events).map(lambda made: json.dumps(made).encode()), st.binary(max_size=200))
    stamps = st.sampled_from([str(int(NOW)), "0", "9" * 5000, "-1", "²"]) | HEADERS

    def signed(made):
        """A request that whoever has the secret may send."""
        body, identifier, stamp = made
        text = b".".join((identifier.encode(errors="replace"), stamp.encode(errors="replace"), body))
        signature = base64.b64encode(hmac.new(SECRET.encode(), text, hashlib.sha256).digest()).decode()
        return body, dict(zip(NAMES, (identifier, stamp, f"v1,{signature}"), strict=True)), SECRET, NOW

    identifiers = st.just(str(uuid.UUID(int=1))) | HEADERS
    fuzz("deliveries, signed", readers.delivery, st.tuples(bodies, identifiers, stamps).map(signed))
    headers = st.dictionaries(st.sampled_from(NAMES), HEADERS, max_size=3)
    strategy = st.tuples(bodies, headers).map(lambda made: (*made, SECRET, NOW))
    fuzz("deliveries, unsigned", readers.delivery, strategy, 0.4)


def test_forged_signatures_are_refused(trial):
    from flows.bridge.delivery import DeliveryRejectedError, check

    count = [0]
    right = base64.b64encode(hmac.new(SECRET.encode(), b"a.b.c", hashlib.sha256).digest()).decode()

    @settings(max_examples=200, deadline=None, database=None)
    @given(HEADERS | st.just(str(uuid.UUID(int=1))), HEADERS | st.just(str(int(NOW))), HEADERS)
    def forge(identifier, stamp, text):
        for signature in (text, f"v1,{text}", f"v1,{right}", f"v2,{right}", "v1," * 50):
            count[0] += 1
            with pytest.raises(DeliveryRejectedError):
                check(dict(zip(NAMES, (identifier, stamp, signature), strict=True)), b"{}", SECRET, NOW, 300.0)

    forge()
    trial("fuzzing: forged signatures", count[0], "refused")
