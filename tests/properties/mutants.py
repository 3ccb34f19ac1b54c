"""Structural mutants of small models, and what becomes of each when it is converted; for an isolated process."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import onnx
import onnx.parser

from tests.properties.mutations import mutated
from tests.security.protobuf_edits import damaged

STRUCTURAL = (0, 4, 6, 7)
"""The steps of protobuf_edits.STEPS that leave a message whole: set, take, repeat, remove."""

HEAD = '<ir_version: 8, opset_import: ["": 17]>'
TEXTS = (
    "g (float[b,4] x) => (float[b,3] y) <float[4,3] w = {1,2,3,4,5,6,7,8,9,1,2,3}, float[3] k = {1,0,2}> "
    "{ h = MatMul (x, w) a = Add (h, k) y = Softmax <axis = -1> (a) }",
    "g (float[2] x, bool c) => (float[2] y) { h = Abs (x) y = If (c) <then_branch = t () => (float[2] p) { "
    "p = Relu (h) }, else_branch = e () => (float[2] q) { q = Neg (x) }> }",
    "g (float[2] x, int64 n, bool t) => (float[2] y) { y = Loop <body = b (int64 i, bool c, float[2] s) => (bool d, "
    "float[2] r) { d = Identity (c) r = Add (s, x) }> (n, t, x) }",
    "g (float[1,2,6,6] x) => (float[1,3,4,4] y, int64[4] s) <float[3,2,3,3] w = {"
    + ",".join(str(i % 7 - 3) for i in range(54))
    + "}> { c = Conv (x, w) y = Relu (c) s = Shape (y) }",
    "g (float[b,4] x) => (float[b,4] y) { m = ReduceMean <axes = [-1]> (x) d = Sub (x, m) q = Mul (d, d) v = "
    "ReduceMean <axes = [-1]> (q) e = Constant <value = float {1e-5}> () a = Add (v, e) s = Sqrt (a) y = Div (d, s) }",
    "g (float[2,3] x, int64[2] i) => (float[2,3] y, float[3,2] z) <int64[2] p = {3, 2}> "
    "{ t = Gather <axis = 0> (x, i) z = Reshape (t, p) f = Cast <to = 1> (i) u = Unsqueeze (f, o) y = Mul (t, u) }",
    "g (float[b,4] x) => (float[b,2] y) <float s = {0.05}, int8 z = {3}, int8[4,2] w = {1,2,3,4,5,6,7,8}> "
    "{ q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) v = DequantizeLinear (w, s, z) y = MatMul (d, v) }",
    "g (float[3,2] x, float[2] a) => (float[2] y, float[3,2] z) { y, z = Scan <num_scan_inputs = 1, body = b ("
    "float[2] s, float[2] e) => (float[2] t, float[2] o) { t = Add (s, e) o = Identity (t) }> (a, x) }",
    "g (float[b,4] x) => (float[b,3] v, int64[b,3] i, float[n,4] c) <int64[1] k = {3}> "
    "{ r = Sqrt (x) v, i = TopK (r, k) l = SplitToSequence <axis = 0> (x) c = ConcatFromSequence <axis = 0> (l) }",
)


def seeds() -> tuple[bytes, ...]:
    """The models that mutants are made of."""
    models = [onnx.parser.parse_model(f"{HEAD} {text}") for text in TEXTS]
    models[5].graph.initializer.append(onnx.helper.make_tensor("o", onnx.TensorProto.INT64, [1], [1]))
    return tuple(model.SerializeToString() for model in models)


def mutants(number: int, seed: int) -> list[bytes]:
    """So many models, different from all seeds, which protobuf still reads: by turns with a field changed, and with a
    part of the graph."""
    chance, origins, found = random.Random(seed), seeds(), []
    while len(found) < number:
        origin = chance.choice(origins)
        mutant = mutated(origin, chance) if len(found) % 2 else damaged(origin, _program(chance))
        if mutant != origin and _is_read(mutant):
            found.append(mutant)
    return found


def _program(chance: random.Random) -> list[tuple[int, int, int]]:
    return [
        (chance.randrange(1 << 12), chance.choice(STRUCTURAL), chance.randrange(1 << 12))
        for _ in range(chance.choice((1, 1, 2, 3)))
    ]


def _is_read(data: bytes) -> bool:
    try:
        return bool(onnx.ModelProto.FromString(data).graph.node)
    except Exception:  # protobuf's own, of several kinds
        return False


def outcome(data: bytes) -> str:
    """`converted`, `refused`, `beyond the limit of memory`; any other outcome but `converted, …` is a fault."""
    from autocast_core import ConversionConfig, convert_file
    from autocast_core.errors import AutocastError

    folder = Path(tempfile.mkdtemp())
    source, out = folder / "m.onnx", folder / "out.onnx"
    source.write_bytes(data)
    try:
        convert_file(source, out, ConversionConfig(keep_io_types=True))
    except AutocastError as error:
        if error.exit_code == 2:
            return "refused"
        return f"report this: {error}"
    except MemoryError:
        return "beyond the limit of memory"
    except Exception as error:
        return f"traceback: {error!r}"
    return _compared(source, out)


def _compared(source: Path, out: Path) -> str:
    import numpy as np

    from autocast_core.data import input_specs, open_batches
    from autocast_core.model import load_model
    from tests.onnx_models import run_in_onnxruntime

    try:
        feeds = next(iter(open_batches(None, input_specs(load_model(source)), batch_size=1, shapes={}, seed=1)))
        before = run_in_onnxruntime(source, feeds)
    except Exception:  # whatever ONNX Runtime and the data have against it
        return "converted, does not run"
    after = run_in_onnxruntime(out, feeds)
    for was, now in zip(before, after, strict=True):
        was, now = np.asarray(was, np.float64), np.asarray(now, np.float64)
        largest = np.abs(was[np.isfinite(was)]).max(initial=1e-3)
        if was.shape != now.shape or not np.allclose(was, now, rtol=0.05, atol=0.05 * largest, equal_nan=True):
            return f"off: {was.tolist()} became {now.tolist()}"
    return "converted"
