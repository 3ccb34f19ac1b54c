"""Files that ONNX Runtime runs and onnx.checker's full check refuses, and files that nothing runs: who is to blame."""

import numpy as np
import onnx
import onnx.parser
import pytest

from autocast_core import ConversionConfig, Precision, convert_file
from autocast_core.errors import ModelError, VerificationError
from tests.onnx_models import interface_types, run_in_onnxruntime

HEAD = '<ir_version: 8, opset_import: ["": 17]>\n'
TEXT = HEAD + "g (float[b,4] x) => (float[b,4] y) { [relu] h = Relu(x) [neg] y = Neg(h) }"
X = np.array([[1.0, -2.0, 3.0, 0.5], [0.25, 4.0, -1.0, 2.0]], np.float32)
Y = -np.maximum(X, 0)


def negative_dimensions(model):
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = -1


def declared(*dims, output=0):
    def edit(model):
        name = model.graph.output[output].name
        model.graph.output[output].CopyFrom(onnx.helper.make_tensor_value_info(name, 1, dims))

    return edit


def another_shape_of_an_inner_value(model):
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("h", 1, [3, 4, 1]))


def the_other_name_of_the_default_domain(model):
    model.graph.node[1].domain = "ai.onnx"


def the_other_order(model):
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


REPAIRED = {
    "negative dimensions": (negative_dimensions, "dimensions"),
    "a wrong length of an output": (declared("b", 9), "declared_outputs"),
    "a wrong rank of an output": (declared("b", 4, 1), "declared_outputs"),
    "a wrong shape of an inner value": (another_shape_of_an_inner_value, "types"),
    "a node of the domain ai.onnx": (the_other_name_of_the_default_domain, "domains"),
    "nodes in another order": (the_other_order, "order"),
    "a graph without a name": (lambda model: model.graph.ClearField("name"), "graph_name"),
    "an output without a shape": (lambda model: model.graph.output[0].type.tensor_type.ClearField("shape"), "outputs"),
    "an output without a type": (lambda model: model.graph.output[0].ClearField("type"), "outputs"),
}


def source(tmp_path, edit=lambda model: None, text=TEXT):
    model = onnx.parser.parse_model(text)
    edit(model)
    path = tmp_path / "source.onnx"
    onnx.save(model, path)
    return path


def converted(path, **options):
    out = path.with_name("out.onnx")
    return convert_file(path, out, ConversionConfig(keep_io_types=True, **options), calibration={"x": X}), out


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
@pytest.mark.parametrize("name", REPAIRED)
def test_a_source_that_runs_is_repaired_with_a_line_in_the_plan(tmp_path, name, precision):
    edit, step = REPAIRED[name]
    path = source(tmp_path, edit)
    np.testing.assert_array_equal(run_in_onnxruntime(path, {"x": X})[0], Y)
    done, out = converted(path, precision=precision)
    assert step in [change.step for change in done.plan.sanitize]
    onnx.checker.check_model(out, full_check=True)
    if precision is Precision.FP16:
        np.testing.assert_array_equal(run_in_onnxruntime(out, {"x": X})[0], Y)


@pytest.mark.parametrize(
    "name", [n for n in REPAIRED if n not in ("negative dimensions", "a wrong shape of an inner value")]
)
def test_a_strict_source_is_refused_with_the_finding_of_the_checker(tmp_path, name):
    findings = r"required|differ in|Unrecognized|nothing before it|'ai\.onnx'"
    with pytest.raises(ModelError, match=f"the model is not valid ONNX: .*({findings})"):
        converted(source(tmp_path, REPAIRED[name][0]), strict_source=True)


def test_a_wrong_declaration_of_an_output_is_a_warning(tmp_path):
    done, _ = converted(source(tmp_path, declared("b", 9)))
    assert done.warnings == ("output 'y' is declared with the shape [b,9] and has [b,4]",)


def test_nodes_of_bodies_and_what_they_read_are_put_in_order(tmp_path):
    """ONNX Runtime sorts the main graph only."""
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (float[b,4] x, bool c) => (float[b,4] y) {
      y = If(c) <then_branch = t () => (float[b,4] p) { p = Neg(k) k = Abs(h) },
                 else_branch = e () => (float[b,4] q) { q = Neg(h) }>
      h = Relu(x)
    }"""
    path = source(tmp_path, text=text)
    feeds = {"x": X, "c": np.array(True)}
    wanted = -np.maximum(X, 0)
    done = convert_file(path, tmp_path / "out.onnx", ConversionConfig(keep_io_types=True), calibration=feeds)
    assert done.warnings == ("put the nodes into an order that they can run in",)
    np.testing.assert_array_equal(run_in_onnxruntime(tmp_path / "out.onnx", feeds)[0], wanted)


def test_a_cycle_is_refused(tmp_path):
    with pytest.raises(ModelError, match="reads 'y', which nothing before it makes"):
        converted(source(tmp_path, text=TEXT.replace("Relu(x)", "Add(x, y)")))


def test_negative_dimensions_of_bodies_are_unknown_ones(tmp_path):
    text = """<ir_version: 8, opset_import: ["": 17]> g (float[2] x, int64 n, bool t) => (float[2] y) {
      y = Loop (n, t, x) <body = b (int64 i, bool c, float[k] s) => (bool d, float[2] r) {
        d = Identity (c) r = Add (s, x) }>
    }"""

    def edit(model):
        model.graph.node[0].attribute[0].g.input[2].type.tensor_type.shape.dim[0].dim_value = -1

    path = source(tmp_path, edit, text)
    feeds = {"x": X[0, :2], "n": np.array(3), "t": np.array(True)}
    done = convert_file(path, tmp_path / "out.onnx", ConversionConfig(keep_io_types=True), calibration=feeds)
    assert "dimensions" in [change.step for change in done.plan.sanitize]
    np.testing.assert_array_equal(run_in_onnxruntime(tmp_path / "out.onnx", feeds)[0], X[0, :2] * 4)


def test_an_input_without_a_shape_takes_its_rank_from_the_option_shapes(tmp_path):
    path = source(tmp_path, lambda model: model.graph.input[0].type.tensor_type.ClearField("shape"))
    with pytest.raises(ModelError, match="input 'x' has no shape: declare one, or give one of its rank with --shapes"):
        converted(path)
    done, out = converted(path, shapes={"x": (2, 4)})
    assert done.warnings[0] == "inputs without a shape have the rank that the option shapes gives: x"
    np.testing.assert_array_equal(run_in_onnxruntime(out, {"x": X})[0], Y)


@pytest.mark.parametrize("shapes", [{"x": (3, 4)}, {}])
def test_negative_dimensions_need_no_data(tmp_path, shapes):
    path, out = source(tmp_path, negative_dimensions), tmp_path / "out.onnx"
    done = convert_file(path, out, ConversionConfig(shapes=shapes, keep_io_types=True))
    assert [node.precision for node in done.plan.nodes] == [Precision.FP16, Precision.FP16]
    np.testing.assert_array_equal(run_in_onnxruntime(out, {"x": X})[0], Y)


def test_a_zero_length_is_a_length(tmp_path):
    path = source(tmp_path, text=TEXT.replace("float[b,4]", "float[0,4]"))
    convert_file(path, tmp_path / "out.onnx")
    shape = onnx.load(tmp_path / "out.onnx").graph.input[0].type.tensor_type.shape
    assert [dim.dim_value for dim in shape.dim] == [0, 4] and shape.dim[0].HasField("dim_value")


@pytest.mark.parametrize("keep", [True, False])
def test_one_value_as_two_outputs_is_two_outputs(tmp_path, keep):
    path = source(tmp_path, lambda model: model.graph.output.append(model.graph.output[0]))
    convert_file(path, tmp_path / "out.onnx", ConversionConfig(keep_io_types=keep))
    model = onnx.load(tmp_path / "out.onnx")
    assert [value.name for value in model.graph.output] == ["y", "y"]
    kind = np.float32 if keep else np.float16
    for found in run_in_onnxruntime(model, {"x": X.astype(kind)}):
        np.testing.assert_array_equal(found, Y.astype(kind))


def test_an_input_that_is_an_output_with_another_shape_keeps_its_own(tmp_path):
    text = TEXT.replace("(float[b,4] y)", "(float[b,4] y, float[q,7] x)")
    done, out = converted(source(tmp_path, text=text))
    np.testing.assert_array_equal(run_in_onnxruntime(out, {"x": X})[1], X)
    assert done.warnings == ()


def test_an_output_that_nothing_makes_is_removed_with_a_warning(tmp_path):
    done, out = converted(source(tmp_path, text=TEXT.replace("(float[b,4] y)", "(float[b,4] y, float[b,4] z)")))
    assert [value.name for value in onnx.load(out).graph.output] == ["y"]
    assert done.warnings == ("removed outputs that no node makes: z",)


def test_inputs_that_nothing_reads_stay(tmp_path):
    path, out = source(tmp_path, text=TEXT.replace("x) =>", "x, float[b,3] unused) =>")), tmp_path / "out.onnx"
    convert_file(path, out, ConversionConfig(keep_io_types=True))
    assert interface_types(onnx.load(out)) == {"x": 1, "unused": 1, "y": 1}


def test_operators_of_onnx_runtime_need_no_import_of_their_domain(tmp_path):
    path = source(tmp_path, text=TEXT.replace("Neg(h)", "com.microsoft.QuickGelu(h)"))
    wanted = run_in_onnxruntime(path, {"x": X})[0]
    done, out = converted(path)
    assert "imports" in [change.step for change in done.plan.sanitize]
    np.testing.assert_allclose(run_in_onnxruntime(out, {"x": X})[0], wanted, rtol=2e-3, atol=1e-4)


def test_operators_that_onnx_runtime_has_in_the_default_domain_stay_there(tmp_path):
    text = TEXT.replace("Neg(h)", "SimplifiedLayerNormalization(h, w)").replace("y) {", "y) <float[4] w = {1,1,1,1}> {")
    path = source(tmp_path, text=text)
    wanted = run_in_onnxruntime(path, {"x": X})[0]
    done, out = converted(path)
    assert [str(each.precision) for each in done.plan.nodes] == ["fp16", "fp16"]
    np.testing.assert_allclose(run_in_onnxruntime(out, {"x": X})[0], wanted, rtol=2e-3, atol=1e-4)


def test_a_wrong_shape_of_an_output_that_a_node_reads_is_corrected_for_the_node_too(tmp_path):
    text = TEXT.replace("=> (float[b,4] y)", "=> (float[1,2,3] h, float[b,4] y)")
    path = source(tmp_path, text=text)
    done, out = converted(path)
    assert done.warnings == ("output 'h' is declared with the shape [1,2,3] and has [b,4]",)
    onnx.checker.check_model(out, full_check=True)
    for found, wanted in zip(run_in_onnxruntime(out, {"x": X}), run_in_onnxruntime(path, {"x": X}), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_declared_shapes_of_outputs_that_nothing_else_tells_stay(tmp_path):
    """Nothing infers the result of a Reshape to a computed shape."""
    text = """<ir_version: 8, opset_import: ["": 17]> g (float[b,4] x, int64[2] s) => (float[3,5] y, float[q,p] z) {
      y = Reshape(x, s) z = Transpose(y) }"""
    convert_file(source(tmp_path, text=text), tmp_path / "out.onnx", ConversionConfig(data_max=float("inf")))
    y, z = onnx.load(tmp_path / "out.onnx").graph.output
    assert [d.dim_value for d in y.type.tensor_type.shape.dim] == [3, 5]
    assert [d.dim_param for d in z.type.tensor_type.shape.dim] == ["q", "p"]


def test_operators_of_ai_onnx_ml_get_the_version_that_onnx_runtime_takes(tmp_path):
    text = TEXT.replace("Neg(h)", "ai.onnx.ml.Scaler<offset = [0.5], scale = [2.0]>(h)")
    path = source(tmp_path, text=text)
    wanted = run_in_onnxruntime(path, {"x": X})[0]
    done, out = converted(path)
    assert "opset 5 of ai.onnx.ml is imported, whose operators are used" in done.warnings
    np.testing.assert_allclose(run_in_onnxruntime(out, {"x": X})[0], wanted, rtol=2e-3)


def test_operators_that_only_com_microsoft_has_are_moved_to_it(tmp_path):
    path = source(tmp_path, text=TEXT.replace("Neg(h)", "QuickGelu(h)"))
    done, out = converted(path)
    assert done.warnings[0] == "moved to the domain com.microsoft, which alone has them: QuickGelu"
    h = np.maximum(X, 0)
    np.testing.assert_allclose(run_in_onnxruntime(out, {"x": X})[0], h / (1 + np.exp(-1.702 * h)), rtol=2e-3)


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
def test_a_layernormalization_before_opset_17_raises_the_opset(tmp_path, precision):
    """ONNX Runtime's optimizer writes it so, and ONNX Runtime runs it."""
    text = TEXT.replace("17", "14").replace("Neg(h)", "LayerNormalization(h, w)")
    path = source(tmp_path, text=text.replace("y) {", "y) <float[4] w = {1,2,3,4}> {"))
    wanted = run_in_onnxruntime(path, {"x": X})[0]
    done, out = converted(path, precision=precision)
    assert done.warnings[0] == "opset raised from 14 to 17, the first that has LayerNormalization"
    assert onnx.load(out).opset_import[0].version == (17 if precision is Precision.FP16 else 22)
    if precision is Precision.FP16:
        np.testing.assert_allclose(run_in_onnxruntime(out, {"x": X})[0], wanted, rtol=2e-3, atol=2e-3)


def test_an_operator_of_a_later_opset_that_no_runtime_takes_is_refused(tmp_path):
    with pytest.raises(ModelError, match="No Op registered for Gelu with domain_version of 17"):
        converted(source(tmp_path, text=TEXT.replace("Neg", "Gelu")))


def test_a_wrong_rank_that_only_a_later_opset_infers_is_corrected(tmp_path):
    """As in a file of ddddocr: at opset 12 Concat does not propagate its data, at 22 it does."""
    text = """<ir_version: 8, opset_import: ["": 12]>
    g (float[t,1,8] x) => (float[1,s] y) <int64 i0 = {0}, int64 i1 = {1}> {
      s = Shape(x) t = Gather(s, i0) b = Gather(s, i1) tu = Unsqueeze<axes = [0]>(t) bu = Unsqueeze<axes = [0]>(b)
      m = Constant<value = int64[1] {-1}>() sh = Concat<axis = 0>(tu, bu, m) r = Relu(x) y = Reshape(r, sh)
    }"""
    path = source(tmp_path, text=text)
    done = convert_file(path, tmp_path / "out.onnx", ConversionConfig(precision=Precision.BF16))
    assert "declared_outputs" in [change.step for change in done.plan.sanitize]
    assert len(onnx.load(tmp_path / "out.onnx").graph.output[0].type.tensor_type.shape.dim) == 3


def test_a_source_that_the_full_check_refuses_is_to_blame(tmp_path):
    with pytest.raises(
        ModelError, match=r"not valid ONNX: .*Inferred elem type differs.*: correct the declared type"
    ) as caught:
        converted(source(tmp_path, text=TEXT.replace("(float[b,4] y)", "(int64[b,4] y)")))
    assert isinstance(caught.value.__cause__, VerificationError)


def test_valid_sources_are_not_fully_checked(tmp_path, monkeypatch):
    monkeypatch.setattr("autocast_core.pipeline.stage.source_finding", None)
    monkeypatch.setattr("autocast_core.pipeline.stages.load.repair_in_place", None)
    done, _ = converted(source(tmp_path))
    assert [node.precision for node in done.plan.nodes] == [Precision.FP16, Precision.FP16]


def test_an_output_of_undefined_elements_is_refused_by_name(tmp_path):
    """onnx.checker accepts it, ONNX Runtime does not load it."""
    path = source(tmp_path, lambda model: setattr(model.graph.output[0].type.tensor_type, "elem_type", 0))
    with pytest.raises(ModelError, match="output 'y' of graph 'g' is declared with an undefined element type"):
        converted(path)


@pytest.mark.parametrize("attributes", ["", "<axes = [0, 2, 3]>"])
@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
def test_meanvariancenormalization_stays_fp32(tmp_path, attributes, precision):
    """ONNX defines it by a function that adds an FP32 constant, and cannot make that function without axes."""
    nodes = f"h = Relu(x) y = MeanVarianceNormalization{attributes}(h)"
    text = HEAD + f"g (float[1,2,4,4] x) => (float[1,2,4,4] y) {{ {nodes} }}"
    path = source(tmp_path, text=text)
    feeds = {"x": np.random.default_rng(0).standard_normal((1, 2, 4, 4)).astype(np.float32)}
    out = tmp_path / "out.onnx"
    done = convert_file(path, out, ConversionConfig(keep_io_types=True, precision=precision), calibration=feeds)
    assert [str(each.precision) for each in done.plan.nodes] == [str(precision), "fp32"]
    onnx.checker.check_model(out, full_check=True)
    if precision is Precision.FP16:
        wanted = run_in_onnxruntime(path, feeds)[0]
        np.testing.assert_allclose(run_in_onnxruntime(out, feeds)[0], wanted, rtol=2e-3, atol=2e-3)
