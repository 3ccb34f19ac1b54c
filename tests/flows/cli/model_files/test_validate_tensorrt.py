"""`autocast validate --on tensorrt`: the values behind its JSON."""

from importlib.util import find_spec

import onnx
import onnx.parser
import pytest

from autocast_core.errors import ConfigError
from flows.cli.model_files.validate import KEYS, Backend, accepted, judged
from flows.cli.terminal.output import FailedCheckError

pytestmark = pytest.mark.skipif(
    not any(find_spec(name) for name in ("tensorrt", "tensorrt_rtx")),
    reason="neither tensorrt nor tensorrt-rtx is here",
)
FP32 = """
<ir_version: 10, opset_import: ["" : 22]>
main (float[N, 4] x) => (float[N, 4] y) { [activate] y = Mish (x) }
"""


@pytest.fixture
def models(tmp_path, monkeypatch):
    """Paths of the FP32 model and of what it becomes in each 16-bit type."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOCAST_HOME", str(tmp_path / ".autocast"))
    paths = {}
    for kind in ("float", "float16", "bfloat16"):
        paths[kind] = str(tmp_path / f"{kind}.onnx")
        onnx.save(onnx.parser.parse_model(FP32.replace("float[", f"{kind}[")), paths[kind])
    return paths


def test_depth_what_was_skipped_layers_and_versions_are_given(models):
    found = judged(models["float16"], models["float"], None, Backend.TENSORRT)
    assert set(KEYS) <= set(found)
    assert found["depth"] in ("built", "executed")
    assert found["findings"] == []
    assert [(each["node"], each["types"]) for each in found["layers"]] == [("graph/activate", ("float16",))]
    assert {"tensorrt", "tensorrt_rtx"} & set(found["versions"])
    assert found["fidelity"]["tensorrt/engine_bytes"] > 0
    assert "graph/activate" in {node for each in found["engine_view"]["kernels"] for node in each["nodes"]}
    assert accepted(found) is found


def test_the_time_is_estimated_on_the_device_that_is_named_and_beside_fp32_where_asked(models):
    found = judged(models["float16"], models["float"], None, Backend.TENSORRT, given={"device": "h100"})
    assert set(found["estimates"]) == {"mixed"}
    assert found["estimates"]["mixed"]["name"] == "NVIDIA H100 SXM 80 GB"
    assert found["fidelity"]["engine/estimated_ms/h100"] == found["estimates"]["mixed"]["ms"] > 0
    assert found["fp32_view"] is None
    found = judged(models["float16"], models["float"], None, Backend.TENSORRT, given={"fp32_engine": True})
    assert {"engine/estimated_ms/l4", "engine/fp32/estimated_ms/l4", "engine/fp32/kernels"} <= set(found["fidelity"])
    assert found["fp32_view"]["kernels"]


def test_an_unknown_device_is_one_line_with_the_known_ones(models):
    with pytest.raises(ConfigError, match=r"device is h900: give h100, h200, a100, .* or orin") as raised:
        judged(models["float16"], models["float"], None, Backend.TENSORRT, given={"device": "h900"})
    assert "\n" not in str(raised.value)


def test_a_refusal_is_in_tensorrts_words_with_the_name_of_the_node(models):
    found = judged(models["bfloat16"], models["float"], None, Backend.TENSORRT)
    assert found["depth"] == "none"
    assert found["findings"][0].startswith("graph/activate: ")
    assert "BF16" in found["findings"][0]
    with pytest.raises(FailedCheckError, match=r"not accepted: graph/activate: .*BF16") as raised:
        accepted(found)
    assert raised.value.exit_code == 3
    assert raised.value.found["depth"] == "none"


def test_profiles_come_from_the_spec(models, tmp_path):
    spec = tmp_path / "spec.yaml"
    spec.write_text("profiles: {x: [1x4, 2x4, 8x4]}\n")
    assert judged(models["float16"], models["float"], None, Backend.TENSORRT, spec)["depth"] in ("built", "executed")
    spec.write_text("profiles: {z: [1x4, 2x4, 8x4]}\n")
    with pytest.raises(Exception, match="profile of 'z': the model's inputs are x"):
        judged(models["float16"], models["float"], None, Backend.TENSORRT, spec)
