"""Real parses and builds with TensorRT for RTX, which needs no GPU for either."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import onnx
import onnx.parser
import pytest

from autocast_core.backends.tensorrt import child as tensorrt_child
from autocast_core.backends.tensorrt import validate as tensorrt
from autocast_core.backends.tensorrt.validate import validate_model
from autocast_core.config import Precision
from autocast_core.engine.options import EngineOptions, Profile
from autocast_core.engine.validation import Finding, Validation
from autocast_core.plan import NodeDecision, PrecisionPlan

installed = pytest.mark.skipif(
    not any(find_spec(name) for name in ("tensorrt", "tensorrt_rtx")),
    reason="neither tensorrt nor tensorrt-rtx is here",
)

MIXED = """
<ir_version: 10, opset_import: ["" : 22]>
main (float16[2, 4] x) => (float[2, 4] y)
<float16[4, 4] w = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1}> {
    [multiply] m = MatMul (x, w)
    [widen] f = Cast <to = 1> (m)
    [soften] y = Softmax (f)
}
"""


def _saved(folder: Path, text: str) -> Path:
    path = folder / "model.onnx"
    onnx.save_model(onnx.parser.parse_model(text), str(path))
    return path


def _plan(**precisions: Precision) -> PrecisionPlan:
    nodes = tuple(NodeDecision(f"graph/{name}", "Op", each, "default") for name, each in precisions.items())
    return PrecisionPlan(Precision.FP16, "", "", nodes)


@installed
def test_a_mixed_model_is_built_and_has_the_types_of_the_model(tmp_path):
    found = validate_model(_saved(tmp_path, MIXED))
    assert (found.depth, found.findings) == ("built", ())
    assert {each.node: each.types for each in found.layers} == {
        "graph/multiply": ("float16",),
        "graph/widen": ("float",),
        "graph/soften": ("float",),
    }
    assert found.engine_bytes
    assert found.package in {f"{name} {version}" for name, version in found.versions.items()}


@installed
def test_without_a_gpu_execution_is_skipped_and_says_so(tmp_path):
    if tensorrt.has_driver():
        pytest.skip("this machine has a GPU")
    assert validate_model(_saved(tmp_path, MIXED)).skipped == ("execution: no NVIDIA driver",)


@installed
def test_types_that_do_not_meet_are_refused_with_the_name_of_the_node(tmp_path):
    text = MIXED.replace("[soften] y = Softmax (f)", "[meet] y = Add (f, m)")
    found = validate_model(_saved(tmp_path, text))
    assert found.depth == "none"
    (finding,) = found.findings
    assert (finding.node, finding.op, finding.code) == ("graph/meet", "Add", "INVALID_NODE")
    assert "Half" in finding.words
    assert "Float" in finding.words
    assert "cudaError" not in finding.words


@installed
def test_an_operator_that_is_not_supported_is_named(tmp_path):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    main (float[4] x) => (float[n] y) { [distinct] y = Unique (x) }
    """
    (finding,) = validate_model(_saved(tmp_path, text)).findings
    assert (finding.node, finding.op, finding.code) == ("graph/distinct", "Unique", "UNSUPPORTED_NODE")


@installed
def test_what_only_the_builder_refuses_is_named_too(tmp_path):
    text = """
    <ir_version: 10, opset_import: ["" : 22]>
    main (bfloat16[1, 1, 2, 2] x) => (bfloat16[1, 1, 3, 3] y)
    <bfloat16[1, 1, 2, 2] w = {1, 1, 1, 1}> { [enlarge] y = ConvTranspose (x, w) }
    """
    found = validate_model(_saved(tmp_path, text))
    assert found.depth == "parsed"
    assert ("graph/enlarge", "ConvTranspose", "BUILD") in {(each.node, each.op, each.code) for each in found.findings}


@installed
def test_a_declared_output_type_that_tensorrt_overrides_is_found(tmp_path):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    main (float16[2] x) => (float[2] y) { [negate] y = Neg (x) }
    """
    found = validate_model(_saved(tmp_path, text), build=False)
    assert [(each.node, each.code) for each in found.findings if each.code == "OUTPUT_TYPE"] == [
        ("graph/negate", "OUTPUT_TYPE")
    ]
    assert not found.accepted


@installed
def test_the_network_is_compared_with_the_plan(tmp_path):
    path = _saved(tmp_path, MIXED)
    right = _plan(multiply=Precision.FP16, soften=Precision.FP32)
    wrong = _plan(multiply=Precision.FP32, soften=Precision.FP32)
    assert validate_model(path, right, build=False).findings == ()
    (finding,) = validate_model(path, wrong, build=False).findings
    assert (finding.node, finding.code) == ("graph/multiply", "PLAN")


@installed
def test_not_building_is_said(tmp_path):
    found = validate_model(_saved(tmp_path, MIXED), build=False)
    assert (found.depth, found.skipped, found.engine_bytes) == ("parsed", ("build: not requested",), None)


@installed
@pytest.mark.parametrize("profiles", [{}, {"x": Profile((1, 3), (4, 3), (8, 3))}])
def test_dynamic_dimensions_get_a_profile(tmp_path, profiles):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    main (float16[batch, 3] x) => (float16[batch, 3] y) { [negate] y = Neg (x) }
    """
    assert validate_model(_saved(tmp_path, text), options=EngineOptions(profiles)).depth == "built"


@installed
def test_a_timeout_is_skipped_with_the_reason(tmp_path):
    found = validate_model(_saved(tmp_path, MIXED), options=EngineOptions(timeout=0.01))
    assert (found.depth, found.skipped, found.findings) == ("none", ("parse: took longer than 0.01 s",), ())


@installed
def test_a_plugin_that_does_not_load_is_one_finding(tmp_path):
    missing = str(tmp_path / "libplugin.so")
    found = validate_model(_saved(tmp_path, MIXED), options=EngineOptions(plugins=(missing,)))
    assert found.depth == "none"
    (finding,) = found.findings
    assert finding.code == "PLUGIN"
    assert missing in finding.words


def test_a_crash_of_the_engine_is_a_finding_and_not_ours(tmp_path, monkeypatch):
    crashing = tmp_path / "python"
    crashing.write_text("#!/bin/sh\nkill -SEGV $$\n")
    crashing.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(crashing))
    monkeypatch.setattr(tensorrt, "find_spec", lambda name: True)
    found = validate_model(_saved(tmp_path, MIXED))
    assert found.findings == (Finding("", "", "CRASH", "the parse crashed (SIGSEGV)"),)


def test_without_tensorrt_everything_is_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorrt, "find_spec", lambda name: None)
    found = validate_model(_saved(tmp_path, MIXED))
    assert found == Validation(skipped=("TensorRT is not installed: install the extra tensorrt-rtx or gpu",))
    assert not found.accepted


def test_a_validation_survives_json(tmp_path):
    found = Validation("parsed", ("build: not requested",), (Finding("n", "Add", "TYPE", "words"),), log=("INFO: x",))
    assert Validation.from_json(json.loads(json.dumps(found.to_json()))) == found


def _emitted(monkeypatch, **packages):
    """What the child says of packages that stand in for TensorRT; a missing one cannot be imported."""

    def imported(name):
        if name not in packages:
            raise ImportError("libnvinfer.so.10: cannot open shared object file")
        return packages[name]

    events = []
    monkeypatch.setattr(tensorrt_child.importlib, "import_module", imported)
    tensorrt_child._load(lambda event, **facts: events.append((event, facts)))
    return events


def test_a_package_that_cannot_be_imported_is_said_in_its_words(monkeypatch):
    ((event, facts),) = _emitted(monkeypatch)
    assert (event, facts["stage"]) == ("skipped", "parse")
    assert "tensorrt cannot be imported (libnvinfer.so.10: cannot open shared object file)" in facts["reason"]


def test_a_version_too_old_for_strong_typing_is_said_with_the_remedy(monkeypatch):
    old = SimpleNamespace(__version__="8.6.0", NetworkDefinitionCreationFlag=object(), OnnxParser=object())
    ((_, facts),) = _emitted(monkeypatch, tensorrt=old)
    assert "tensorrt 8.6.0 is too old for strongly typed networks: install 10.8 or newer" in facts["reason"]


def test_classic_tensorrt_is_not_touched_without_a_driver(monkeypatch):
    monkeypatch.setattr(tensorrt_child, "has_driver", lambda: False)
    flags = SimpleNamespace(STRONGLY_TYPED=1)
    classic = SimpleNamespace(__version__="11.4", NetworkDefinitionCreationFlag=flags, OnnxParser=object())
    ((_, facts),) = _emitted(monkeypatch, tensorrt=classic)
    assert "tensorrt needs an NVIDIA driver even to parse; tensorrt-rtx does not" in facts["reason"]


@installed
def test_the_engine_is_written_where_it_is_asked_for(tmp_path):
    engine = tmp_path / "model.engine"
    found = validate_model(_saved(tmp_path, MIXED), engine=engine)
    assert engine.stat().st_size == found.engine_bytes


@installed
def test_a_timing_cache_is_not_used_by_tensorrt_for_rtx_and_that_is_in_the_log(tmp_path):
    cache = tmp_path / "timing.cache"
    found = validate_model(_saved(tmp_path, MIXED), options=EngineOptions(timing_cache=cache, workspace_bytes=1 << 28))
    if str(found.package).startswith("tensorrt "):
        pytest.skip("this is classic TensorRT")
    assert found.depth == "built"
    assert any("timing cache is not used" in line for line in found.log)
    assert not cache.exists()


@installed
def test_a_profile_of_another_rank_is_skipped_with_the_reason(tmp_path):
    text = MIXED.replace("float16[2, 4] x", "float16[n, 4] x").replace("float[2, 4] y", "float[n, 4] y")
    found = validate_model(_saved(tmp_path, text), options=EngineOptions({"x": Profile((1,), (1,), (1,))}))
    assert (found.depth, found.skipped) == (
        "parsed",
        ("build: the profile of input 'x' has another rank than the model's 2",),
    )
