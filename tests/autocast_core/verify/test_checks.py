"""What may not enter, and what may not leave."""

from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from autocast_core.backends.onnxruntime.session import OnnxRuntime
from autocast_core.config import Precision
from autocast_core.errors import BackendError, ModelError, UnconvertibleError, VerificationError
from autocast_core.model import ConvertedTensor, load_proto
from autocast_core.plan import PlanSettings, PrecisionPlan
from autocast_core.verify import check_source, load_checked, model_interface, verify

HEAD = '<ir_version: 10, opset_import: ["" : {}, "own" : 1]>'
TEXT = "g (float[2,64] x) => (float[2,64] y) { [mul] h = MatMul (x, w) [relu] y = Relu (h) }"


def load(text: str = TEXT, opset: int = 22, **weights: np.ndarray) -> ir.Model:
    model = onnx.parser.parse_model(HEAD.format(opset) + text)
    for name, value in ({"w": np.ones((64, 64), np.float32)} if "w" in text and not weights else weights).items():
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    return load_proto(model)


def plan(precision=Precision.FP16, keep=True) -> PrecisionPlan:
    return PrecisionPlan(precision, "", "", (), settings=PlanSettings(keep_io_types=keep))


def judged(model: ir.Model, runtime=None, **settings):
    return verify(model, model_interface(model), plan(**settings), runtime)


@dataclass
class FakeRuntime:
    """Opens models as told, and notes what it was given."""

    error: str = ""
    seen: list[int] = field(default_factory=list)
    name: str = "fake"

    def open(self, model, *, exact=False, few_runs=False, content=None):
        if self.error:
            raise BackendError(self.error)
        self.seen.append(len(content.bytes))
        return self

    def close(self) -> None:
        self.seen.append(-1)


def test_a_sound_model_passes_and_says_what_loaded_it():
    verified = judged(load(), OnnxRuntime(threads=1))
    assert (verified.loaded_by, verified.skipped) == ("onnxruntime", ())


def test_weights_are_neither_converted_nor_copied_for_the_load(monkeypatch):
    model = load()
    weight = model.graph.initializers["w"]
    weight.const_value = ConvertedTensor(weight.const_value, ir.DataType.FLOAT16)
    weight.dtype = model.graph.inputs[0].dtype = ir.DataType.FLOAT16
    for node in model.graph:
        node.outputs[0].dtype = ir.DataType.FLOAT16
    before = weight.const_value
    monkeypatch.setattr("autocast_core.model.tensors._converted", None)
    runtime = FakeRuntime()
    judged(model, runtime)
    assert runtime.seen[0] < 4096 and runtime.seen[1] == -1
    assert weight.const_value is before


def test_without_a_runtime_the_load_is_skipped_with_a_reason():
    verified = judged(load())
    assert verified.loaded_by is None and "load" in verified.skipped[0]


def test_a_runtime_that_lacks_an_operator_is_no_failure():
    text = "g (float[2] x) => (float[2] y) { y = own.Plugin (x) }"
    verified = judged(load(text), OnnxRuntime(threads=1))
    assert verified.loaded_by is None and "Plugin" in verified.skipped[0]


def test_a_runtime_that_finds_the_model_wrong_is_a_failure():
    with pytest.raises(VerificationError, match="does not load in fake: Type Error: node 'mul'"):
        judged(load(), FakeRuntime("Type Error: node 'mul'"))


def test_a_removed_producer_is_named_by_its_reader():
    model = load()
    model.graph.remove(model.graph.node("mul"))
    with pytest.raises(VerificationError, match=r"node graph/relu \(Relu\) reads 'h'"):
        judged(model)


def test_an_output_that_nothing_makes_is_named():
    model = load()
    model.graph.outputs[0] = ir.Value(name="y", type=ir.TensorType(ir.DataType.FLOAT))
    with pytest.raises(VerificationError, match=r"output 0 \('y'\) of graph"):
        judged(model)


def test_a_body_may_read_what_is_made_before_it_and_not_what_comes_after():
    text = """g (bool c, float[2] x) => (float[2] z) { a = Relu (x) [if] y = If (c) <
        then_branch = t () => (float[2] p) { [inner] p = Tanh (a) },
        else_branch = e () => (float[2] q) { q = Tanh (x) }> [late] b = Relu (x) z = Add (y, b) }"""
    model = load(text)
    assert judged(model).structure.data
    inner = model.graph.node("if").attributes["then_branch"].as_graph().node(0)
    inner.replace_input_with(0, model.graph.node("late").outputs[0])
    with pytest.raises(VerificationError, match=r"node graph/if:then_branch/inner \(Tanh\) reads 'b'"):
        judged(model)


def test_an_initializer_of_another_type_than_declared_is_named():
    model = load()
    model.graph.initializers["w"].dtype = ir.DataType.FLOAT16
    with pytest.raises(VerificationError, match="initializer 'w' is declared FLOAT16 and holds FLOAT"):
        judged(model)


def test_an_initializer_of_another_shape_than_declared_is_named():
    model = load()
    model.graph.initializers["w"].shape = ir.Shape([64, 63])
    with pytest.raises(VerificationError, match="initializer 'w' is declared"):
        judged(model)


def test_a_missing_cast_is_found_by_the_checker_and_names_the_node():
    model = load(w=np.ones((64, 64), np.float16))
    with pytest.raises(VerificationError, match=r"onnx.checker refuses .*mul"):
        judged(model)


def test_a_type_that_an_operator_has_not_names_node_and_opset():
    text = "g (bfloat16[2] x) => (bfloat16[2] y) { [soft] y = Softplus (x) }"
    with pytest.raises(UnconvertibleError, match=r"node graph/soft \(Softplus\) .*bfloat16.* opset 21: .*--opset 22"):
        judged(load(text, opset=21), precision=Precision.BF16)


def test_a_changed_interface_is_a_failure():
    interface = model_interface(load())
    model = load()
    model.graph.inputs[0].name = "renamed"
    with pytest.raises(VerificationError, match="inputs were x and are renamed"):
        verify(model, interface, plan(), None)


def test_a_valid_source_passes_the_check():
    check_source(load())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("g (float[2] x) => (float[2] y) { y = NoSuchOperator (x) }", "NoSuchOperator"),
        ("g (float[2] x) => (float[2] y) { [n] y = Relu (nowhere) }", "graph/n .* reads 'nowhere'"),
        ("g (float[2] x) => (float[2] y) { z = Relu (x) }", "'y'"),
        ("g (float[2] x) => (float[2] y) { [n] y = Relu<slope = 2> (x) }", "slope"),
    ],
)
def test_an_invalid_source_is_refused_with_the_finding_on_one_line(text, says):
    with pytest.raises(ModelError, match=says) as caught:
        check_source(load(text))
    assert "\n" not in str(caught.value) and "/tmp" not in str(caught.value)


def test_a_source_with_external_data_behind_links_passes(tmp_path):
    model = onnx.parser.parse_model(HEAD.format(22) + TEXT)
    model.graph.initializer.append(numpy_helper.from_array(np.ones((64, 64), np.float32), "w"))
    (tmp_path / "real").mkdir()
    onnx.save(model, tmp_path / "real" / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    for name in ("m.onnx", "m.data"):
        (tmp_path / name).symlink_to(tmp_path / "real" / name)
    loaded = load_checked(tmp_path / "m.onnx")
    assert judged(loaded, OnnxRuntime(threads=1)).loaded_by == "onnxruntime"
