"""Which value of a candidate is which of the reference: by names that can be trusted, and by structure."""

import onnx_ir as ir

from autocast_core.diagnose.matching.by_structure import matcher_of
from autocast_core.diagnose.matching.prepared import paired_interfaces, prepared
from tests.autocast_core.diagnose.diagnosed import model, whole_fp16

IO = "(float[N, 4] x) => (float[N, 4] y)"
TWINS = "a = MatMul(x, p)\nb = MatMul(x, q)\nc = Mul(a, b)\ny = Tanh(c)"
P = "float[4, 4] p = {1,0,0,0,0,1,0,0,0,0,1,0,0,0,0,1}, float[4, 4] q = {2,0,1,0,0,2,0,0,0,0,2,0,3,0,0,2}"


def matched(reference, candidate):
    ours, theirs = (prepared(ir.from_proto(each)) for each in (reference, candidate))
    matching = matcher_of(ours, theirs, paired_interfaces(ours, theirs, {}), {}).run()
    return {str(value.name): str(other.name) for value, other in matching.of.items()}


def test_twins_are_told_apart_by_their_weights():
    renamed = model("m = MatMul(x, q)\nn = MatMul(x, p)\no = Mul(n, m)\ny = Tanh(o)", IO, P)
    found = matched(model(TWINS, IO, P), whole_fp16(renamed))
    assert (found["m"], found["n"], found["o"]) == ("b", "a", "c")


def test_names_that_mean_other_operators_are_not_trusted():
    source = model("v1 = Relu(x)\nv2 = Neg(v1)\nv3 = Abs(v2)\ny = Tanh(v3)", IO)
    other = model("v2 = Relu(x)\nv3 = Neg(v2)\nv1 = Abs(v3)\ny = Tanh(v1)", IO)
    found = matched(source, other)
    assert (found["v2"], found["v3"], found["v1"]) == ("v1", "v2", "v3")


def test_what_follows_an_unknown_part_is_matched_backwards():
    source = model("a = Relu(x)\nb = Sin(a)\nc = Exp(b)\ny = Tanh(c)", IO)
    other = model("p = Relu(x)\nq = Cos(p)\nr = Exp(q)\ny = Tanh(r)", IO)
    found = matched(source, other)
    assert (found["p"], found["r"], found["q"]) == ("a", "c", "b")
