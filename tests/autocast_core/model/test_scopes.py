"""A body's initializer with the name of a value around it: ONNX asks for distinct names, and runtimes read differently.

Measured with ONNX Runtime 1.27 and onnx.reference 1.23: of a branch that reads `w` both take the outer one, of a branch
that gives `w` out ONNX Runtime takes the inner one and the reference the outer one, in a Loop again so.
"""

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx.reference import ReferenceEvaluator
from onnx_ir import to_proto

from autocast_core.errors import ModelError
from autocast_core.model import load_proto
from tests.onnx_models import run_in_onnxruntime

BRANCH = """<ir_version: 8, opset_import: ["": 17]>
g (bool c, float[2] x) => (float[2] y) <float[2] w = {10, 10}> {
  h = Mul (x, w)
  [if] y = If (c) <then_branch = t () => (float[2] p) <float[2] w = {2, 2}> { p = Mul (x, w) },
                   else_branch = e () => (float[2] q) { q = Add (h, w) }>
}"""


def load(text: str):
    return load_proto(onnx.parser.parse_model(text))


def test_a_body_initializer_that_hides_an_outer_one_is_refused_by_name():
    with pytest.raises(ModelError, match=r"initializer 'w' of then_branch of node 'if' .* rename it"):
        load(BRANCH)


def test_runtimes_read_such_a_model_differently_which_is_why_it_is_refused():
    """Once they agree, the model can be read as they do (decisions.md)."""
    import onnxruntime

    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
    g (bool c) => (float[2] y) <float[2] w = {10, 10}> {
      y = If (c) <then_branch = t () => (float[2] p) <float[2] w = {2, 2}> { p = Identity (w) },
                  else_branch = e () => (float[2] q) { q = Neg (w) }>
    }""")
    feeds = {"c": np.array(True)}
    optimised = onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds)
    found = [each[0].tolist() for each in (optimised, run_in_onnxruntime(model, feeds))]
    found.append(ReferenceEvaluator(model).run(None, feeds)[0].tolist())
    assert found == [[2, 2], [10, 10], [10, 10]]
    with pytest.raises(ModelError, match="initializer 'w' of then_branch"):
        load_proto(model)


@pytest.mark.parametrize("name", ["x", "h"])
def test_a_body_initializer_that_hides_an_input_or_a_result_is_refused(name):
    text = BRANCH.replace("w = {2, 2}", f"{name} = {{2, 2}}").replace("p = Mul (x, w)", f"p = Mul ({name}, {name})")
    with pytest.raises(ModelError, match=f"initializer '{name}' of then_branch"):
        load(text)


def test_a_hidden_name_that_only_a_nested_body_reads_is_refused():
    inner = """p = If (c) <then_branch = t2 () => (float[2] r) { r = Mul (x, w) },
                           else_branch = e2 () => (float[2] s) { s = Neg (x) }>"""
    with pytest.raises(ModelError, match="initializer 'w' of then_branch"):
        load(BRANCH.replace("p = Mul (x, w)", inner))


@pytest.mark.parametrize(
    ("what", "by", "result"),
    [
        ("w = {2, 2}", "w = {10, 10}", [10, 30]),
        ("p = Mul (x, w)", "p = Neg (x)", [-1, -3]),
        ("w = {2, 2}> { p = Mul (x, w)", "k = {2, 2}> { p = Mul (x, k)", [2, 6]),
    ],
    ids=["the same content", "not read", "another name"],
)
def test_where_both_readings_agree_the_model_is_read(what, by, result):
    read = to_proto(load(BRANCH.replace(what, by)))
    assert run_in_onnxruntime(read, {"c": np.array(True), "x": np.float32([1, 3])})[0].tolist() == result


def test_a_name_that_is_made_after_the_node_is_not_hidden():
    text = BRANCH.replace("w = {2, 2}> { p = Mul (x, w)", "z = {2, 2}> { p = Mul (x, z)")
    read = to_proto(load(text[: text.rindex("}")] + "  z = Relu (y)\n}"))
    assert run_in_onnxruntime(read, {"c": np.array(True), "x": np.float32([1, 3])})[0].tolist() == [2, 6]
