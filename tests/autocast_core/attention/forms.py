"""Forms of attention, one core each, and whether TensorRT for RTX 1.7.1 makes one kernel of it, as it was measured.

Types are FP16 unless the form says otherwise; every node is named as its result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import onnx.parser

_LOW_NUMBERS = ("s", "lo", "hi", "zero")
"""Numbers that are FP16 in the models; ONNX's text form has whole numbers only for that type."""
QKV = "float16[1,12,128,64] q, float16[1,12,64,128] k, float16[1,12,128,64] v"


@dataclass(frozen=True)
class Form:
    """Nodes of one core, the graph's inputs and outputs, further initializers, and whether it becomes one kernel.

    In `nodes`, up is a Cast to FP32 and down one to FP16.
    """

    nodes: str
    fused: bool
    inputs: str = QKV
    outputs: str = "float16[1,12,128,64] y"
    numbers: str = "float[1] s = {0.125}"
    opset: int = 22

    def model(self) -> onnx.ModelProto:
        """The model, with inferred types and shapes."""
        nodes = self.nodes.replace("up(", "Cast<to=1>(").replace("down(", "Cast<to=10>(")
        text = f'<ir_version: 10, opset_import: ["" : {self.opset}]> main ({self.inputs}) => ({self.outputs})'
        model = onnx.parser.parse_model(f"{text} <{self.numbers}> {{ {nodes} }}")
        for tensor in model.graph.initializer:
            if tensor.name in _LOW_NUMBERS:
                array = onnx.numpy_helper.to_array(tensor).astype(np.float16)
                tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
        for node in model.graph.node:
            node.name = node.output[0]
        return onnx.shape_inference.infer_shapes(model)


FORMS: dict[str, Form] = {
    "scale alone fp32 behind": Form(
        "a = MatMul(q, k) b = up(a) c = Mul(b, s32) d = down(c) p = Softmax(d) y = MatMul(p, v)",
        True,
        numbers="float[1] s32 = {0.125}",
    ),
    "scale fp32 in front": Form(
        "b = up(q) c = Mul(b, s32) d = down(c) a = MatMul(d, k) p = Softmax(a) y = MatMul(p, v)",
        True,
        numbers="float[1] s32 = {0.125}",
    ),
    "mask alone fp32": Form(
        "a = MatMul(q, k) b = Mul(a, s) c = up(b) mm = up(m) d = Add(c, mm) e = down(d) p = Softmax(e) "
        "y = MatMul(p, v)",
        True,
        inputs=QKV + ", float16[1,1,128,128] m",
    ),
    "mask+softmax fp32": Form(
        "a = MatMul(q, k) b = Mul(a, s) c = up(b) mm = up(m) d = Add(c, mm) pp = Softmax(d) p = down(pp) "
        "y = MatMul(p, v)",
        True,
        inputs=QKV + ", float16[1,1,128,128] m",
    ),
    "scale+mask fp32": Form(
        "a = MatMul(q, k) b = up(a) c = Mul(b, s32) mm = up(m) d = Add(c, mm) e = down(d) p = Softmax(e) "
        "y = MatMul(p, v)",
        True,
        inputs=QKV + ", float16[1,1,128,128] m",
        numbers="float[1] s32 = {0.125}",
    ),
    "scale+softmax fp32": Form(
        "a = MatMul(q, k) b = up(a) c = Mul(b, s32) pp = Softmax(c) p = down(pp) y = MatMul(p, v)",
        True,
        numbers="float[1] s32 = {0.125}",
    ),
    "scale+mask+softmax fp32": Form(
        "a = MatMul(q, k) b = up(a) c = Mul(b, s32) mm = up(m) d = Add(c, mm) pp = Softmax(d) "
        "p = down(pp) y = MatMul(p, v)",
        True,
        inputs=QKV + ", float16[1,1,128,128] m",
        numbers="float[1] s32 = {0.125}",
    ),
    "where mask fp32 alone": Form(
        "a = MatMul(q, k) b = Mul(a, s) c = up(b) l = up(lo) d = Where(mb, c, l) e = down(d) "
        "p = Softmax(e) y = MatMul(p, v)",
        True,
        inputs=QKV + ", bool[1,1,128,128] mb",
        numbers="float[1] s = {0.125}, float[1] lo = {-30000.0}",
    ),
    "where+softmax fp32": Form(
        "a = MatMul(q, k) b = Mul(a, s) c = up(b) l = up(lo) d = Where(mb, c, l) pp = Softmax(d) "
        "p = down(pp) y = MatMul(p, v)",
        True,
        inputs=QKV + ", bool[1,1,128,128] mb",
        numbers="float[1] s = {0.125}, float[1] lo = {-30000.0}",
    ),
    "qk + mask fp32, scale front": Form(
        "qs = Mul(q, s) q1 = up(qs) k1 = up(k) a = MatMul(q1, k1) mm = up(m) d = Add(a, mm) e = down(d) "
        "p = Softmax(e) y = MatMul(p, v)",
        False,
        inputs=QKV + ", float16[1,1,128,128] m",
    ),
    "qk + softmax fp32 in a row": Form(
        "qs = Mul(q, s) q1 = up(qs) k1 = up(k) a = MatMul(q1, k1) pp = Softmax(a) p = down(pp) y = MatMul(p, v)",
        False,
    ),
    "qk fp32 and pv fp32 apart": Form(
        "qs = Mul(q, s) q1 = up(qs) k1 = up(k) a = MatMul(q1, k1) e = down(a) p = Softmax(e) p1 = up(p) "
        "v1 = up(v) yy = MatMul(p1, v1) y = down(yy)",
        True,
    ),
    "qk fp32, softmax fp32, with cast between": Form(
        "qs = Mul(q, s) q1 = up(qs) k1 = up(k) a = MatMul(q1, k1) e = down(a) f = up(e) pp = Softmax(f) "
        "p = down(pp) y = MatMul(p, v)",
        True,
    ),
    "softmax fp32 and pv fp32 with cast pair between": Form(
        "a = MatMul(q, k) b = Mul(a, s) f = up(b) pp = Softmax(f) p = down(pp) p1 = up(p) v1 = up(v) "
        "yy = MatMul(p1, v1) y = down(yy)",
        True,
    ),
    "scale fp32 on q and qk fp32": Form(
        "q1 = up(q) qs = Mul(q1, s32) k1 = up(k) a = MatMul(qs, k1) e = down(a) p = Softmax(e) y = MatMul(p, v)",
        False,
        numbers="float[1] s32 = {0.125}",
    ),
    "probabilities are output": Form(
        "a = MatMul(q, k) b = Mul(a, s) p = Softmax(b) y = MatMul(p, v)",
        False,
        outputs="float16[1,12,128,64] y, float16[1,12,128,128] p",
    ),
    "scores are output": Form(
        "a = MatMul(q, k) b = Mul(a, s) p = Softmax(b) y = MatMul(p, v)",
        False,
        outputs="float16[1,12,128,64] y, float16[1,12,128,128] b",
    ),
    "raw scores read elsewhere": Form(
        "a = MatMul(q, k) b = Mul(a, s) p = Softmax(b) y = MatMul(p, v) z = ReduceMean<keepdims=0>(a)",
        False,
        outputs="float16[1,12,128,64] y, float16 z",
    ),
    "dropout": Form(
        "a = MatMul(q, k) b = Mul(a, s) p = Softmax(b) d = Dropout(p) y = MatMul(d, v)",
        True,
    ),
    "per-head scale": Form(
        "a = MatMul(q, k) b = Mul(a, hs) p = Softmax(b) y = MatMul(p, v)",
        True,
        inputs=QKV + ", float16[12,1,1] hs",
        numbers="",
    ),
    "two masks": Form(
        "a = MatMul(q, k) b = Mul(a, s) c = Add(b, m) d = Add(c, m2) p = Softmax(d) y = MatMul(p, v)",
        True,
        inputs=QKV + ", float16[1,1,128,128] m, float16[1,12,128,128] m2",
    ),
    "where then add": Form(
        "a = MatMul(q, k) b = Mul(a, s) c = Add(b, m) d = Where(mb, c, lo) p = Softmax(d) y = MatMul(p, v)",
        True,
        inputs=QKV + ", float16[1,1,128,128] m, bool[1,1,128,128] mb",
        numbers="float[1] s = {0.125}, float[1] lo = {-30000.0}",
    ),
    "mask times": Form(
        "a = MatMul(q, k) b = Mul(a, s) c = Mul(b, m) p = Softmax(c) y = MatMul(p, v)",
        True,
        inputs=QKV + ", float16[1,1,128,128] m",
    ),
    "nan guard": Form(
        "a = MatMul(q, k) b = Mul(a, s) c = Add(b, m) pp = Softmax(c) n = IsNaN(pp) "
        "p = Where(n, zero, pp) y = MatMul(p, v)",
        True,
        inputs=QKV + ", float16[1,1,128,128] m",
        numbers="float[1] s = {0.125}, float[1] zero = {0.0}",
    ),
    "reshape between": Form(
        "a = MatMul(q, k) b = Mul(a, s) r = Reshape(b, r3) p = Softmax(r) t = Reshape(p, r4) y = MatMul(t, v)",
        True,
        numbers="float[1] s = {0.125}, int64[3] r3 = {12,128,128}, int64[4] r4 = {1,12,128,128}",
    ),
    "rank 3": Form(
        "a = MatMul(q, k) b = Mul(a, s) p = Softmax(b) y = MatMul(p, v)",
        True,
        inputs="float16[12,128,64] q, float16[12,64,128] k, float16[12,128,64] v",
        outputs="float16[12,128,64] y",
    ),
    "rank 2": Form(
        "a = MatMul(q, k) b = Mul(a, s) p = Softmax(b) y = MatMul(p, v)",
        False,
        inputs="float16[128,64] q, float16[64,128] k, float16[128,64] v",
        outputs="float16[128,64] y",
    ),
    "transposed axis -2": Form(
        "a = MatMul(kk, qt) b = Mul(a, s) p = Softmax<axis=-2>(b) y = MatMul(vt, p)",
        False,
        inputs="float16[1,12,64,128] qt, float16[1,12,128,64] kk, float16[1,12,64,128] vt",
        outputs="float16[1,12,64,128] y",
    ),
    "probabilities transposed": Form(
        "a = MatMul(q, k) b = Mul(a, s) p = Softmax(b) pt = Transpose<perm=[0,1,3,2]>(p) y = MatMul(vt, pt)",
        False,
        inputs="float16[1,12,128,64] q, float16[1,12,64,128] k, float16[1,12,64,128] vt",
        outputs="float16[1,12,64,128] y",
    ),
    "einsum": Form(
        'a = Einsum<equation="bhid,bhjd->bhij">(q, kk) b = Mul(a, s) p = Softmax(b) '
        'y = Einsum<equation="bhij,bhjd->bhid">(p, v)',
        True,
        inputs="float16[1,12,128,64] q, float16[1,12,128,64] kk, float16[1,12,128,64] v",
    ),
    "einsum bshd": Form(
        'a = Einsum<equation="bihd,bjhd->bhij">(q, kk) b = Mul(a, s) p = Softmax(b) '
        'y = Einsum<equation="bhij,bjhd->bihd">(p, v)',
        True,
        inputs="float16[1,128,12,64] q, float16[1,128,12,64] kk, float16[1,128,12,64] v",
        outputs="float16[1,128,12,64] y",
    ),
    "clip scores": Form(
        "a = MatMul(q, k) b = Mul(a, s) c = Clip(b, lo, hi) p = Softmax(c) y = MatMul(p, v)",
        True,
        numbers="float[1] s = {0.125}, float lo = {-30000.0}, float hi = {30000.0}",
    ),
    "scale by computed scalar": Form(
        "a = MatMul(q, k) b = Mul(a, cs) p = Softmax(b) y = MatMul(p, v)",
        True,
        inputs=QKV + ", float16[1] cs",
        numbers="",
    ),
    "v head size differs (32)": Form(
        "a = MatMul(q, k) b = Mul(a, s) p = Softmax(b) y = MatMul(p, v)",
        False,
        inputs="float16[1,12,128,64] q, float16[1,12,64,128] k, float16[1,12,128,32] v",
        outputs="float16[1,12,128,32] y",
    ),
    "head 320 v 64": Form(
        "a = MatMul(q, k) b = Mul(a, s) p = Softmax(b) y = MatMul(p, v)",
        False,
        inputs="float16[1,12,128,320] q, float16[1,12,320,128] k, float16[1,12,128,64] v",
    ),
    "head 64 v 320": Form(
        "a = MatMul(q, k) b = Mul(a, s) p = Softmax(b) y = MatMul(p, v)",
        False,
        inputs="float16[1,12,128,64] q, float16[1,12,64,128] k, float16[1,12,128,320] v",
        outputs="float16[1,12,128,320] y",
    ),
    "head 8": Form(
        "a = MatMul(q, k) b = Mul(a, s) p = Softmax(b) y = MatMul(p, v)",
        False,
        inputs="float16[1,12,128,8] q, float16[1,12,8,128] k, float16[1,12,128,8] v",
        outputs="float16[1,12,128,8] y",
    ),
    "head 264": Form(
        "a = MatMul(q, k) b = Mul(a, s) p = Softmax(b) y = MatMul(p, v)",
        False,
        inputs="float16[1,12,128,264] q, float16[1,12,264,128] k, float16[1,12,128,264] v",
        outputs="float16[1,12,128,264] y",
    ),
    "bf16 core": Form(
        "a = MatMul(q, k) p = Softmax(a) y = MatMul(p, v)",
        True,
        inputs="bfloat16[1,12,128,64] q, bfloat16[1,12,64,128] k, bfloat16[1,12,128,64] v",
        outputs="bfloat16[1,12,128,64] y",
        numbers="",
    ),
    "fp16 qk, bf16 softmax, fp16 pv": Form(
        "a = MatMul(q, k) b = Cast<to=16>(a) pp = Softmax(b) p = down(pp) y = MatMul(p, v)",
        True,
        numbers="",
    ),
    "fp16 qk+softmax, bf16 pv": Form(
        "a = MatMul(q, k) pp = Softmax(a) p = Cast<to=16>(pp) vb = Cast<to=16>(v) yy = MatMul(p, vb) y = down(yy)",
        False,
        numbers="",
    ),
    "Attention op": Form(
        "y = Attention(q, k, v)",
        True,
        inputs="float16[1,12,128,64] q, float16[1,12,128,64] k, float16[1,12,128,64] v",
        numbers="",
        opset=23,
    ),
    "Attention op softcap": Form(
        "y = Attention<softcap=30.0>(q, k, v)",
        False,
        inputs="float16[1,12,128,64] q, float16[1,12,128,64] k, float16[1,12,128,64] v",
        numbers="",
        opset=23,
    ),
    "Attention op head 320": Form(
        "y = Attention(q, k, v)",
        False,
        inputs="float16[1,12,128,320] q, float16[1,12,128,320] k, float16[1,12,128,320] v",
        outputs="float16[1,12,128,320] y",
        numbers="",
        opset=23,
    ),
    "constant k": Form(
        "k = Transpose<perm=[0,1,3,2]>(v0) v = Identity(v0) a = MatMul(q, k) b = Mul(a, s) p = Softmax(b) "
        "y = MatMul(p, v)",
        True,
        inputs="float16[1,12,128,64] q, float16[1,12,128,64] v0",
    ),
    "tanh only": Form(
        "a = MatMul(q, k) b = Mul(a, s) c = Tanh(b) p = Softmax(c) y = MatMul(p, v)",
        False,
    ),
    "cast up, transpose, qk32": Form(
        "qs = Mul(q, s) q1 = up(qs) kf = up(kk) k1 = Transpose<perm=[0,1,3,2]>(kf) a = MatMul(q1, k1) "
        "e = down(a) p = Softmax(e) y = MatMul(p, v)",
        True,
        inputs="float16[1,12,128,64] q, float16[1,12,128,64] kk, float16[1,12,128,64] v",
    ),
    "qk32, reshape, cast down": Form(
        "qs = Mul(q, s) q1 = up(qs) k1 = up(k) a = MatMul(q1, k1) r = Reshape(a, r3) e = down(r) "
        "p = Softmax(e) t = Reshape(p, r4) y = MatMul(t, v)",
        True,
        numbers="float[1] s = {0.125}, int64[3] r3 = {12,128,128}, int64[4] r4 = {1,12,128,128}",
    ),
    "softmax32, reshape, cast, pv": Form(
        "a = MatMul(q, k) b = up(a) p = Softmax(b) r = Reshape(p, r4) t = down(r) y = MatMul(t, v)",
        True,
        numbers="int64[4] r4 = {1,12,128,128}",
    ),
    "dropout32, pv32": Form(
        "a = MatMul(q, k) p = Softmax(a) b = up(p) d = Dropout(b) v1 = up(v) y1 = MatMul(d, v1) y = down(y1)",
        True,
        numbers="",
    ),
    "pv32 result read as fp32": Form(
        "a = MatMul(q, k) p = Softmax(a) b = up(p) v1 = up(v) y = MatMul(b, v1)",
        False,
        outputs="float[1,12,128,64] y",
        numbers="",
    ),
    "qk32 only q from fp32 source": Form(
        "e1 = Exp(q32) k1 = up(k) a = MatMul(e1, k1) e = down(a) p = Softmax(e) y = MatMul(p, v)",
        False,
        inputs=QKV + ", float[1,12,128,64] q32",
        numbers="",
    ),
    "qk32 q,k fp32 inputs": Form(
        "a = MatMul(q, k) e = down(a) p = Softmax(e) y = MatMul(p, v)",
        False,
        inputs="float[1,12,128,64] q, float[1,12,64,128] k, float16[1,12,128,64] v",
        numbers="",
    ),
    "pv32 v fp32 input": Form(
        "a = MatMul(q, k) p = Softmax(a) b = up(p) y1 = MatMul(b, v1) y = down(y1)",
        False,
        inputs="float16[1,12,128,64] q, float16[1,12,64,128] k, float[1,12,128,64] v1",
        numbers="",
    ),
    "gqa expand in fp32, cast down": Form(
        "qs = Mul(q, s) a = MatMul(qs, k) p = Softmax(a) vu = Unsqueeze(v4, ax) ve = Expand(vu, es) "
        "vr = Reshape(ve, rs) y = MatMul(p, vr)",
        True,
        inputs="float16[1,12,128,64] q, float16[1,12,64,128] k, float16[1,4,128,64] v4",
        numbers="float[1] s = {0.125}, int64[1] ax = {2}, int64[5] es = {1,4,3,128,64}, int64[4] rs = {1,12,128,64}",
    ),
    "softcap fp32": Form(
        "a = MatMul(q, k) b = up(a) c = Div(b, cap) d = Tanh(c) e = Mul(d, cap) f = down(e) "
        "p = Softmax(f) y = MatMul(p, v)",
        False,
        numbers="float[1] cap = {30.0}",
    ),
    "MHA-like 3d qkv 1 head rank4": Form(
        "a = MatMul(q, k) b = Mul(a, s) p = Softmax(b) y = MatMul(p, v)",
        False,
        inputs="float16[1,1,128,64] q, float16[1,1,64,128] k, float16[1,1,128,64] v",
        outputs="float16[1,1,128,64] y",
    ),
    "rank 3 batch 1": Form(
        "a = MatMul(q, k) b = Mul(a, s) p = Softmax(b) y = MatMul(p, v)",
        False,
        inputs="float16[1,128,64] q, float16[1,64,128] k, float16[1,128,64] v",
        outputs="float16[1,128,64] y",
    ),
    "head 9": Form(
        "a = MatMul(q, k) b = Mul(a, s) p = Softmax(b) y = MatMul(p, v)",
        True,
        inputs="float16[1,12,128,9] q, float16[1,12,9,128] k, float16[1,12,128,9] v",
        outputs="float16[1,12,128,9] y",
    ),
    "head 12": Form(
        "a = MatMul(q, k) b = Mul(a, s) p = Softmax(b) y = MatMul(p, v)",
        True,
        inputs="float16[1,12,128,12] q, float16[1,12,12,128] k, float16[1,12,128,12] v",
        outputs="float16[1,12,128,12] y",
    ),
    "head 16": Form(
        "a = MatMul(q, k) b = Mul(a, s) p = Softmax(b) y = MatMul(p, v)",
        True,
        inputs="float16[1,12,128,16] q, float16[1,12,16,128] k, float16[1,12,128,16] v",
        outputs="float16[1,12,128,16] y",
    ),
    "head 252": Form(
        "a = MatMul(q, k) b = Mul(a, s) p = Softmax(b) y = MatMul(p, v)",
        True,
        inputs="float16[1,12,128,252] q, float16[1,12,252,128] k, float16[1,12,128,252] v",
        outputs="float16[1,12,128,252] y",
    ),
    "softmax in parts": Form(
        "a = MatMul(q, k) m = ReduceMax<keepdims=1>(a, ax) b = Sub(a, m) e = Exp(b) z = ReduceSum<keepdims=1>(e, ax) "
        "p = Div(e, z) y = MatMul(p, v)",
        True,
        numbers="int64[1] ax = {-1}",
    ),
    "softmax in parts fp32, by reciprocal": Form(
        "a = MatMul(q, k) b = up(a) e = Exp(b) z = ReduceSum<keepdims=1>(e, ax) r = Reciprocal(z) p = Mul(r, e) "
        "c = down(p) y = MatMul(c, v)",
        True,
        numbers="int64[1] ax = {-1}",
    ),
    "row maximum subtracted": Form(
        "a = MatMul(q, k) m = ReduceMax<keepdims=1>(a, ax) b = Sub(a, m) p = Softmax(b) y = MatMul(p, v)",
        True,
        numbers="int64[1] ax = {-1}",
    ),
    "maximum of all subtracted": Form(
        "a = MatMul(q, k) m = ReduceMax<keepdims=0>(a) b = Sub(a, m) p = Softmax(b) y = MatMul(p, v)", False
    ),
    "probabilities times mask": Form(
        "a = MatMul(q, k) p = Softmax(a) w = Mul(p, m) y = MatMul(w, v)", True, QKV + ", float16[1,1,1,128] m"
    ),
    "probabilities times mask, divided by their sum": Form(
        "a = MatMul(q, k) p = Softmax(a) w = Mul(p, m) z = ReduceSum<keepdims=1>(w, ax) d = Div(w, z) y = MatMul(d, v)",
        True,
        QKV + ", float16[1,1,1,128] m",
        numbers="int64[1] ax = {-1}",
    ),
    "sum of two masks": Form(
        "a = MatMul(q, k) b = Sum(m, a, n) p = Softmax(b) y = MatMul(p, v)",
        True,
        QKV + ", float16[1,1,1,128] m, float16[1,1,128,128] n",
    ),
    "softmax of opset 11 over the last axis": Form(
        "a = MatMul(q, k) p = Softmax<axis=3>(a) y = MatMul(p, v)", True, opset=11
    ),
    "one query": Form(
        "a = MatMul(q, k) p = Softmax(a) y = MatMul(p, v)",
        False,
        QKV.replace("[1,12,128,64] q", "[1,12,1,64] q"),
        "float16[1,12,1,64] y",
    ),
    "one key": Form(
        "a = MatMul(q, k) p = Softmax(a) y = MatMul(p, v)",
        False,
        "float16[1,12,128,64] q, float16[1,12,64,1] k, float16[1,12,1,64] v",
    ),
    "one head of k and v for all": Form(
        "qs = Mul(q, s) a = MatMul(qs, k) p = Softmax(a) y = MatMul(p, v)",
        True,
        "float16[2,12,128,64] q, float16[2,1,64,128] k, float16[2,1,128,64] v",
        "float16[2,12,128,64] y",
    ),
    "one head of k and v for all, scale behind": Form(
        "a = MatMul(q, k) b = Mul(a, s) p = Softmax(b) y = MatMul(p, v)",
        False,
        "float16[2,12,128,64] q, float16[2,1,64,128] k, float16[2,1,128,64] v",
        "float16[2,12,128,64] y",
    ),
    "one head of k for all": Form(
        "a = MatMul(q, k) p = Softmax(a) y = MatMul(p, v)",
        False,
        "float16[2,12,128,64] q, float16[2,1,64,128] k, float16[2,12,128,64] v",
        "float16[2,12,128,64] y",
    ),
    "k and v of one sample for all": Form(
        "a = MatMul(q, k) p = Softmax(a) y = MatMul(p, v)",
        True,
        "float16[2,12,128,64] q, float16[12,64,128] k, float16[1,12,128,64] v",
        "float16[2,12,128,64] y",
    ),
    "einsum, k on the left": Form(
        'a = Einsum<equation="bhkd,bhqd->bhqk">(k, q) p = Softmax(a) y = MatMul(p, v)',
        False,
        QKV.replace("[1,12,64,128] k", "[1,12,128,64] k"),
    ),
    "einsum, probabilities on the right": Form(
        'a = MatMul(q, k) p = Softmax(a) y = Einsum<equation="bhkd,bhqk->bhqd">(v, p)', False
    ),
}
