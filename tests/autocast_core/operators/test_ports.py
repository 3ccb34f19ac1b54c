import onnx
import onnx_ir as ir

from autocast_core.operators import ports_of


def ports(text: str) -> list[tuple]:
    """(input index, output index, name inside, names of body outputs, unwrapped) per port of the last node."""
    model = ir.serde.deserialize_model(onnx.parser.parse_model('<ir_version: 8, opset_import: ["": 17]>\n' + text))
    return [
        (
            port.input_index,
            port.output_index,
            port.inner_input.name if port.inner_input is not None else None,
            tuple(value.name for value in port.inner_outputs),
            port.unwrap,
        )
        for port in ports_of(model.graph[-1])
    ]


def test_an_if_has_a_port_per_output():
    found = ports(
        """g (float[2] x, bool c) => (float[2] y, float[2] z) {
          y, z = If(c) <then_branch = t () => (float[2] a, float[2] b) { a = Neg(x) b = Abs(x) },
                        else_branch = e () => (float[2] d, float[2] f) { d = Exp(x) f = Relu(x) }>
        }"""
    )
    assert found == [(None, 0, None, ("a", "d"), False), (None, 1, None, ("b", "f"), False)]


def test_a_loop_has_states_and_scan_outputs():
    found = ports(
        """g (float[2] x, int64 n) => (float[2] y, float[k,2] s) {
          y, s = Loop(n, , x) <body = b (int64 i, bool ci, float[2] v) => (bool co, float[2] vo, float[2] so) {
            co = Identity(ci) vo = Neg(v) so = Abs(v)
          }>
        }"""
    )
    assert found == [(2, 0, "v", ("vo",), False), (None, 1, None, ("so",), True)]


def test_a_scan_has_states_scan_inputs_and_scan_outputs():
    found = ports(
        """g (float[3] h, float[2,3] xs) => (float[3] l, float[2,3] ys) {
          l, ys = Scan(h, xs) <num_scan_inputs = 1, body = b (float[3] s, float[3] x) => (float[3] so, float[3] y) {
            so = Add(s, x) y = Neg(so)
          }>
        }"""
    )
    assert found == [(0, 0, "s", ("so",), False), (1, None, "x", (), True), (None, 1, None, ("y",), True)]


def test_a_sequence_map_unwraps_sequences_and_passes_tensors():
    found = ports(
        """g (seq(float[3]) s, float[3] k) => (seq(float[3]) t) {
          t = SequenceMap(s, k) <body = f (float[3] x, float[3] c) => (float[3] z) { z = Add(x, c) }>
        }"""
    )
    assert found == [(0, None, "x", (), True), (1, None, "c", (), False), (None, 0, None, ("z",), True)]


def test_other_nodes_have_none():
    assert ports("g (float[2] x) => (float[2] y) { y = Neg(x) }") == []
