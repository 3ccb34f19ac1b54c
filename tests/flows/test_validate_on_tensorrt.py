"""The flow on a machine without a GPU: parsed, built, and what it leaves in the tracking store."""

from importlib.util import find_spec

import onnx
import onnx.parser
import pytest

from tests.flows.conversions import client

pytestmark = pytest.mark.xdist_group("prefect")
installed = pytest.mark.skipif(
    not any(find_spec(name) for name in ("tensorrt", "tensorrt_rtx")),
    reason="neither tensorrt nor tensorrt-rtx is here",
)
FP32 = """
<ir_version: 10, opset_import: ["" : 22]>
main (float[N, 4] x) => (float[N, 4] y) { [activate] y = Mish (x) }
"""


def _models(folder, low):
    for name, text in (("model", FP32), ("low", FP32.replace("float[", f"{low}["))):
        onnx.save(onnx.parser.parse_model(text), folder / f"{name}.onnx")
    return str(folder / "low.onnx"), str(folder / "model.onnx")


@installed
def test_a_model_that_is_accepted_has_its_layers_and_depth_tracked(workplace):
    from flows.validate_on_tensorrt import validate_on_tensorrt

    result = validate_on_tensorrt(*_models(workplace, "float16"), log_engine=True)
    run = client().get_run(result.run_id)
    kept = {each.path for each in client().list_artifacts(result.run_id, "tensorrt")}
    assert (result.depth, result.accepted, result.findings) == ("built", True, ())
    assert run.info.status == "FINISHED"
    assert run.data.metrics["tensorrt/depth"] == 2
    assert run.data.metrics["tensorrt/engine_bytes"] > 0
    assert run.data.metrics["engine/kernels"] > 0
    assert run.data.tags["autocast.tensorrt"].startswith("built by tensorrt")
    assert {"tensorrt/layers.json", "tensorrt/kernels.json", "tensorrt/model.engine"} <= kept


@installed
def test_a_model_that_is_refused_fails_where_validation_is_required(workplace):
    from flows.request.spec import Spec
    from flows.validate_on_tensorrt import EngineRefusedModelError, validate_on_tensorrt

    with pytest.raises(EngineRefusedModelError, match=r"graph/activate.*BF16") as raised:
        validate_on_tensorrt(*_models(workplace, "bfloat16"), Spec(validation="required"))
    assert client().get_run(raised.value.result.run_id).info.status == "FAILED"
