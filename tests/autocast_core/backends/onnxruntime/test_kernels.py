"""Models at opsets at which ONNX Runtime has no kernel of one of their operators."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from autocast_core.backends.onnxruntime import OnnxRuntime
from autocast_core.backends.onnxruntime.kernels import at_lower_opset
from autocast_core.errors import BackendError

CPU = OnnxRuntime(threads=1)
X = np.linspace(0, 1, 8, dtype=np.float32).reshape(1, 8)
NO_KERNEL = "NOT_IMPLEMENTED : Could not find an implementation for RandomNormalLike(22) node with name 'r'"


def model_of(opset: int, text: str) -> ir.Model:
    return ir.from_onnx_text(f'<ir_version: 10, opset_import: ["" : {opset}]> {text}')


NODES = {
    "normal": "r = RandomNormalLike <seed = 1.0> (x) y = Add (x, r)",
    "uniform": "r = RandomUniformLike <seed = 1.0> (x) y = Add (x, r)",
    "a function of ONNX whose body has no kernel": "y = Bernoulli <seed = 1.0> (x)",
    "in a body": "c = Constant <value = bool {1}> () y = If (c) <then_branch = t () => (float[1,8] p) { p = "
    "RandomNormalLike <seed = 1.0> (x) }, else_branch = e () => (float[1,8] q) { q = Neg (x) }>",
}


@pytest.mark.parametrize("nodes", NODES.values(), ids=NODES)
@pytest.mark.parametrize("exact", [True, False])
def test_a_model_at_opset_22_computes_what_it_does_at_opset_21(nodes: str, exact: bool) -> None:
    text = f"g (float[1,8] x) => (float[1,8] y) {{ {nodes} }}"
    (before,), (after,) = (CPU.open(model_of(opset, text), exact=exact).run({"x": X}) for opset in (21, 22))
    assert np.array_equal(before, after)


def test_roialign_of_opset_22_runs() -> None:
    text = """g (float[1,1,4,4] x, float[1,4] r, int64[1] i) => (float[1,1,2,2] y) {
        y = RoiAlign <output_height = 2, output_width = 2, sampling_ratio = 1> (x, r, i) }"""
    feeds = {"x": np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4), "i": np.array([0])}
    (y,) = CPU.open(model_of(22, text)).run(feeds | {"r": np.array([[0, 0, 4, 4]], np.float32)})
    assert y.tolist() == [[[[2.5, 4.5], [10.5, 12.5]]]]


def test_an_operator_that_differs_at_the_lower_opset_keeps_the_model_as_it_is() -> None:
    model = model_of(23, "g (float[1,8] x) => (float[1,8] y) { r = RandomNormalLike (x) y = RMSNormalization (r, x) }")
    assert at_lower_opset(ir.to_proto(model).SerializeToString(), NO_KERNEL) is None
    with pytest.raises(BackendError, match=r"Could not find an implementation for RandomNormalLike\(22\)"):
        CPU.open(model)


def test_a_model_of_16_bit_types_is_judged_as_it_is_unless_it_is_run_exactly() -> None:
    text = "g (float[1,8] x) => (float16[1,8] y) { r = RandomNormalLike <seed = 1.0> (x) y = Cast <to = 10> (r) }"
    model = model_of(22, text)
    with pytest.raises(BackendError, match="Could not find an implementation"):
        CPU.open(model)
    (y,) = CPU.open(model, exact=True).run({"x": X})
    drawn = "g (float[1,8] x) => (float[1,8] y) { y = RandomNormalLike <seed = 1.0> (x) }"
    (expected,) = CPU.open(model_of(21, drawn)).run({"x": X})
    assert np.array_equal(y, expected.astype(np.float16))


@pytest.mark.parametrize("message", ["FAIL : another one", NO_KERNEL.replace("(22)", "(7)")])
def test_other_messages_change_nothing(message: str) -> None:
    model = model_of(22, "g (float[1,8] x) => (float[1,8] y) { y = RandomNormalLike (x) }")
    assert at_lower_opset(ir.to_proto(model).SerializeToString(), message) is None


def test_a_lower_opset_at_which_types_are_not_admitted_gives_the_first_refusal() -> None:
    model = model_of(22, "g (bfloat16[1,1,4,4] x, bfloat16[1,1,1,1] w) => (bfloat16[1,1,4,4] y) { y = Conv (x, w) }")
    with pytest.raises(BackendError, match=r"Could not find an implementation for Conv\(22\)"):
        CPU.open(model, exact=True)


@pytest.mark.parametrize("exact", [True, False])
def test_random_operators_without_a_seed_draw_the_same_in_every_session_and_not_in_every_run(exact: bool) -> None:
    text = "g (float[1,8] x) => (float[1,8] y, float[1,8] z) { y = RandomNormalLike (x) z = RandomNormalLike (x) }"
    runs = []
    for _ in range(2):
        session = CPU.open(model_of(17, text), exact=exact)
        runs.append(np.array([session.run({"x": X}) for _ in range(2)]))
    assert np.array_equal(runs[0], runs[1])
    assert len(np.unique(runs[0])) == runs[0].size


def test_a_seed_of_the_models_own_stays() -> None:
    seeded = "g (float[1,8] x) => (float[1,8] y) { y = RandomNormalLike <seed = 1.0> (x) }"
    own = CPU.open(model_of(17, seeded)).run({"x": X})
    given = CPU.open(model_of(17, seeded.replace(" <seed = 1.0>", ""))).run({"x": X})
    other = CPU.open(model_of(17, seeded.replace("1.0", "5.0"))).run({"x": X})
    assert np.array_equal(own, given)
    assert not np.array_equal(own, other)


def test_the_model_that_was_opened_is_not_changed() -> None:
    model = model_of(22, "g (float[1,8] x) => (float[1,8] y) { y = RandomNormalLike (x) }")
    before = ir.to_proto(model).SerializeToString()
    CPU.open(model)
    assert ir.to_proto(model).SerializeToString() == before


def test_bfloat16_casts_of_a_simulated_model_run_at_the_lower_opset() -> None:
    text = "g (float[1,8] x) => (float[1,8] y) { r = RandomNormalLike <seed = 1.0> (x) h = Cast <to = 16> (r) "
    (y,) = CPU.open(model_of(22, text + "y = Cast <to = 1> (h) }"), exact=True).run({"x": X})
    assert np.array_equal(y, y.astype(ml_dtypes.bfloat16).astype(np.float32))
