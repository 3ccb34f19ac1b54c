"""The view of engines that are really built: every node of the models is accounted for."""

from __future__ import annotations

import json
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from autocast_core.attention import attention_cores, fusion_obstacles
from autocast_core.backends.tensorrt import child, validate
from autocast_core.backends.tensorrt.engine_view import engine_view
from autocast_core.backends.tensorrt.validate import validate_model
from autocast_core.config import ConversionConfig
from autocast_core.data import input_specs, open_batches
from autocast_core.engine.options import EngineOptions, Profile
from autocast_core.engine.validation import Validation
from autocast_core.engine.view import EngineView
from autocast_core.graph.walk import nodes_with_ids
from autocast_core.model import load_model
from autocast_core.pipeline.convert import convert_file
from autocast_core.targets.fitting import engine_options
from tests.models import build
from tests.onnx_models import operator_types

installed = pytest.mark.skipif(not find_spec("tensorrt_rtx"), reason="tensorrt-rtx is not here")

CORE = """
<ir_version: 10, opset_import: ["" : 22]>
main (float16[1, 4, 128, 64] q, float16[1, 4, 64, 128] k, float16[1, 4, 128, 64] v) => (float16[1, 4, 128, 64] y)
<float16[1] one = {1}> {
    [qk] s = MatMul (q, k)
    [same] t = Mul (s, one)
    [soften] p = Softmax (t)
    [pv] y = MatMul (p, v)
}
"""
RECORD = (
    "Name: {name}, LayerType: kgen, Inputs: [ {{ Name: x, Dimensions: [2], Datatype: Half, Format: (Linear) }}], "
    "Constants: [], Outputs: [], TacticName: , StreamId: 0, Metadata: {metadata}"
)


def _saved(folder: Path, text: str) -> Path:
    path = folder / "model.onnx"
    onnx.save_model(onnx.parser.parse_model(text), str(path))
    return path


def _view(text: str, **nodes: list[str]) -> EngineView:
    """The view where a log lists one kernel for each keyword, with these nodes."""
    lines = [
        RECORD.format(name=name, metadata="".join(f"[ONNX Layer: {each}]" for each in members))
        for name, members in nodes.items()
    ]
    event = {"messages": ["\n".join(["Layers:", *lines, ""])], "left_out": False}
    view, problem = engine_view(event, ir.serde.deserialize_model(onnx.parser.parse_model(text)))
    assert problem is None
    assert view is not None
    return view


def _of_test_model(name: str, folder: Path) -> tuple[Validation, ir.Model]:
    built = build(name, folder, layers=2)
    path = folder / "low.onnx"
    convert_file(built.path, path, ConversionConfig(), calibration=built.calibration)
    model = load_model(path)
    options = engine_options(model, ConversionConfig(), open_batches(built.calibration, input_specs(model)))
    return validate_model(path, None, options), model


@installed
def test_a_core_of_attention_is_found_and_fused_and_what_changes_nothing_is_listed(tmp_path):
    found = validate_model(_saved(tmp_path, CORE))
    assert found.depth == "built"
    view = found.engine_view
    assert (view.attention_found, view.attention_fused) == (1, 1)
    (fused,) = [each for each in view.kernels if each.fused_attention]
    assert {"graph/qk", "graph/soften", "graph/pv"} <= set(fused.nodes)
    assert set(view.without_kernel) <= {"graph/same"}
    assert set(view.without_kernel.values()) <= {"neutral"}
    assert view.traffic_bytes >= 4 * (4 * 128 * 64 * 2)
    assert {name: value for name, value in found.metrics().items() if name.startswith("engine/")} == view.metrics()


@installed
def test_an_rms_normalization_from_its_parts_is_taken_as_one_operator_in_one_kernel(tmp_path):
    text = """
    <ir_version: 8, opset_import: ["" : 18]>
    main (float[32, 64] x, float[32, 64] z) => (float[32, 64] y)
    <int64[1] last = {-1}, float two = {2}, float eps = {1e-5}> {
        s = Add (x, z) p = Pow (s, two) v = ReduceMean (p, last) a = Add (v, eps) r = Sqrt (a) i = Reciprocal (r)
        n = Mul (s, i) y = Mul (scale, n)
    }
    """
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.linspace(0.5, 2, 64, dtype=np.float32), "scale"))
    source, path = tmp_path / "source.onnx", tmp_path / "low.onnx"
    onnx.save_model(model, source)
    convert_file(source, path, ConversionConfig(fuse_rms_norm=True))
    assert operator_types(path) == ["Add", "RMSNormalization"]
    found = validate_model(path)
    assert (found.accepted, found.depth, found.findings) == (True, "built", ())
    (kernel,) = found.engine_view.kernels
    assert (kernel.reads, kernel.writes) == (("float16",) * 3, ("float16",))


@installed
def test_the_engine_of_the_reference_is_seen_beside_the_models(tmp_path):
    low, reference = tmp_path / "low", tmp_path / "fp32"
    low.mkdir(), reference.mkdir()
    text = CORE.replace("float16[", "float[")
    found = validate_model(_saved(low, CORE), reference=_saved(reference, text))
    assert (found.engine_view.attention_fused, found.fp32_view.attention_fused) == (1, 0)
    assert found.fp32_view.traffic_bytes > 2 * found.engine_view.traffic_bytes
    assert {node for kernel in found.fp32_view.kernels for node in kernel.nodes} >= {"graph/qk", "graph/pv"}


@installed
def test_a_reference_that_is_refused_is_said_and_the_model_is_still_accepted(tmp_path):
    low, reference = tmp_path / "low", tmp_path / "bf16"
    low.mkdir(), reference.mkdir()
    text = """
    <ir_version: 10, opset_import: ["" : 22]>
    main (bfloat16[2, 4] x) => (bfloat16[2, 4] y) { [activate] y = Mish (x) }
    """
    found = validate_model(_saved(low, CORE), reference=_saved(reference, text))
    assert (found.accepted, found.fp32_view) == (True, None)
    assert any(each.startswith("engine of the FP32 model: ") and "BF16" in each for each in found.skipped)
    assert found.engine_view is not None


@installed
def test_a_crash_at_the_reference_is_no_finding_of_the_model(tmp_path, monkeypatch):
    path = _saved(tmp_path, CORE)
    run = validate._run_child

    def crashing(*arguments):
        events, _ = run(*arguments)
        del events["reference engine"]
        return events, "crashed: SIGSEGV"

    monkeypatch.setattr(validate, "_run_child", crashing)
    found = validate_model(path, reference=path)
    assert (found.accepted, found.depth, found.fp32_view) == (True, "built", None)
    assert "engine of the FP32 model: crashed: SIGSEGV" in found.skipped


@installed
def test_with_shapes_of_the_run_the_bytes_are_not_known(tmp_path):
    text = """
    <ir_version: 10, opset_import: ["" : 22]>
    main (float16[n, 4] x) => (float16[n, 4] y) { [activate] y = Sigmoid (x) }
    """
    options = EngineOptions(profiles={"x": Profile((1, 4), (2, 4), (8, 4))})
    view = validate_model(_saved(tmp_path, text), None, options).engine_view
    assert [each.writes for each in view.kernels if each.nodes == ("graph/activate",)] == [("float16",)]
    assert set(view.metrics()) >= {"engine/kernels", "engine/attention/found", "engine/attention/fused"}
    assert view.traffic_bytes is None


def _check(name: str, folder: Path, cores: int, unnamed: tuple[str, ...], others_unfused: bool = False) -> None:
    """Every node stands in a kernel or is listed with the reason; those of `unnamed` as computing, but not named.

    `others_unfused`: the engine leaves cores unfused for reasons that `fusion_obstacles` does not know.
    """
    found, model = _of_test_model(name, folder)
    view = found.engine_view
    ids = {node_id for node_id, _ in nodes_with_ids(model.graph)}
    assert {each for kernel in view.kernels for each in kernel.nodes} | set(view.without_kernel) == ids
    assert tuple(node for node, reason in view.without_kernel.items() if reason == "unnamed") == unnamed
    assert view.attention_found == cores
    recognised = attention_cores(model.graph)
    assert len(recognised) == cores
    fusable = sum(not fusion_obstacles(core) for core in recognised)
    assert view.attention_fused <= fusable
    if not others_unfused:
        assert view.attention_fused == fusable
    print(json.dumps({"model": name, **view.metrics(), **Counter(view.without_kernel.values())}))


@installed
@pytest.mark.parametrize(
    ("name", "cores", "unnamed"),
    [
        ("bert_base", 2, ()),
        ("gpt2", 2, ()),
        ("llama_100m", 2, ()),
        ("resnet50", 0, ()),
        ("t5_small", 6, ()),
        ("whisper_encoder", 2, ()),
        ("if_loop", 0, ()),
        ("mobilenet_v2", 0, ("graph//features/features.17/Clip",)),
    ],
)
def test_every_node_that_computes_stands_in_a_kernel_or_is_listed(name, cores, unnamed, tmp_path):
    _check(name, tmp_path, cores, unnamed)


@installed
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "cores", "unnamed"),
    [
        ("vit_base", 2, ()),
        ("unet", 1, ()),
        ("swin_tiny", 8, ()),
        ("swin_tiny_traced", 8, ()),
        ("lstm", 0, ("graph//gru/GRU",)),
    ],
)
def test_every_node_of_the_other_models_stands_in_a_kernel_or_is_listed(name, cores, unnamed, tmp_path):
    _check(name, tmp_path, cores, unnamed, others_unfused=name in ("unet", "swin_tiny"))


def test_shape_arithmetic_and_layout_need_no_kernel():
    text = """
    <ir_version: 10, opset_import: ["" : 22]>
    main (float[2, 3] x) => (float[3, 2] y) {
        [size] s = Shape (x)
        [turn] t = Transpose (x)
        [twice] d = Add (s, s)
        [act] y = Relu (t)
    }
    """
    assert _view(text, only=["act"]).without_kernel == {
        "graph/size": "constant",
        "graph/turn": "layout",
        "graph/twice": "constant",
    }


def test_only_operands_that_leave_the_other_as_it_is_are_neutral():
    text = """
    <ir_version: 10, opset_import: ["" : 22]>
    main (float[2] x) => (float[2] d) <float[1] one = {1}, float[1] two = {2}> {
        [same] a = Div (x, one)
        [inverse] b = Div (one, a)
        [double] c = Mul (b, two)
        [shift] d = Add (c, one)
    }
    """
    reasons = _view(text).without_kernel
    assert reasons == {
        "graph/same": "neutral",
        "graph/inverse": "unnamed",
        "graph/double": "unnamed",
        "graph/shift": "unnamed",
    }


def test_what_is_not_needed_or_computed_twice_is_told():
    text = """
    <ir_version: 10, opset_import: ["" : 22]>
    main (float[2] x) => (float[2] y, float[2] z) {
        [first] a = Abs (x)
        [again] b = Abs (x)
        [of_first] c = Neg (a)
        [of_again] d = Neg (b)
        [only] y = Sum (c)
        [use] z = Exp (d)
        [dead] e = Exp (x)
        [deader] f = Log (e)
    }
    """
    assert _view(text, kernel=["first", "of_again", "use"]).without_kernel == {
        "graph/again": "same as another",
        "graph/of_first": "same as another",
        "graph/only": "neutral",
        "graph/dead": "unused",
        "graph/deader": "unused",
    }


def test_nodes_without_names_and_calls_of_functions_are_found_under_tensorrts_names():
    text = """
    <ir_version: 10, opset_import: ["" : 22, "local" : 1]>
    main (float[2] x) => (float[2] y) { a = Abs (x) b = Neg (a) [call] y = local.Act (b) }
    <domain: "local", opset_import: ["" : 22]> Act (u) => (w) { [curve] v = Sigmoid (u) [times] w = Mul (u, v) }
    """
    view = _view(text, one=["node_of_a"], other=["node_of_b", "curve", "times"])
    assert [each.nodes for each in view.kernels] == [("graph/Abs_2",), ("graph/Neg_2", "graph/call")]
    assert view.without_kernel == {}


def test_a_mask_belongs_to_the_fused_attention_that_alone_reads_it():
    text = """
    <ir_version: 10, opset_import: ["" : 22]>
    main (bool[2] x, float[2] s) => (float[2] y)
    <float[1] none = {0}, float[1] low = {-9}, int64[1] axis = {0}> {
        [choose] m = Where (x, none, low)
        [widen] w = Unsqueeze (m, axis)
        [mask] y = Add (s, w)
        [other] z = Abs (m)
    }
    """.replace(" OUTPUT", "").replace("float[1] low = {-9}>", "float[1] low = {-9}, int64[1] axis = {0}>")
    alone = text.replace("[other] z = Abs (m)\n", "")
    assert _view(alone, _gemm_mha_v2=["mask"]).without_kernel["graph/choose"] == "mask"
    assert _view(alone, other=["mask"]).without_kernel["graph/choose"] == "unnamed"
    assert _view(text, _gemm_mha_v2=["mask"], abs=["other"]).without_kernel["graph/choose"] == "unnamed"


def test_a_name_that_several_bodies_have_stands_for_all_of_them():
    text = """
    <ir_version: 10, opset_import: ["" : 22]>
    main (bool c, float[2] x) => (float[2] y) {
        [choose] y = If (c) <
            then_branch = a () => (float[2] t) { [act] t = Relu (x) },
            else_branch = b () => (float[2] e) { [act] e = Abs (x) }
        >
    }
    """
    (kernel,) = _view(text, only=["act", "ONNXTRT_castHelper"]).kernels
    assert kernel.nodes == ("graph/choose:then_branch/act", "graph/choose:else_branch/act")


@installed
def test_a_log_in_another_form_leaves_out_the_view_says_why_and_nothing_else_changes(tmp_path, monkeypatch):
    path = _saved(tmp_path, CORE)
    before = validate_model(path)
    run = validate._run_child

    def other_form(*arguments):
        events, problem = run(*arguments)
        events["engine"]["messages"] = ["Layers:\n[kernel 1]\n\n"]
        return events, problem

    monkeypatch.setattr(validate, "_run_child", other_form)
    found = validate_model(path)
    assert found.engine_view is None
    assert found.skipped == (
        *before.skipped,
        f"engine view: the build log describes a kernel in an unknown form: [kernel 1] ({found.package})",
    )
    assert (found.depth, found.findings, found.layers) == (before.depth, (), before.layers)
    assert "engine/kernels" not in found.metrics()


def test_a_log_that_is_too_long_is_not_passed_on_and_said():
    model = ir.serde.deserialize_model(onnx.parser.parse_model(CORE))
    assert engine_view({"messages": [], "left_out": True}, model) == (None, "the build log is too long to be read")


def test_the_logger_keeps_the_engines_messages_apart_from_those_for_people():
    class Severities:
        VERBOSE = SimpleNamespace(name="VERBOSE")
        INFO = SimpleNamespace(name="INFO")
        ERROR = SimpleNamespace(name="ERROR")
        INTERNAL_ERROR = SimpleNamespace(name="INTERNAL_ERROR")

    logger = child._logger(SimpleNamespace(ILogger=Severities))
    for severity, message in (
        (Severities.VERBOSE, "Layers:\nName: a"),
        (Severities.VERBOSE, "Layer(Constant): weights"),
        (Severities.VERBOSE, "Found qk to be part of self-attention pattern."),
        (Severities.INFO, "Layers: 3"),
    ):
        logger.log(severity, message)
    assert logger.lines == ["INFO: Layers: 3"]
    assert logger.engine == ["Layers:\nName: a", "Found qk to be part of self-attention pattern."]
