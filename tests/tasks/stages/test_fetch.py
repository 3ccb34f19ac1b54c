import numpy as np
import onnx
import onnx.parser
import pytest
from prefect.states import Failed

from autocast_core.errors import InputError, ServiceError
from tasks.prefect.retries import is_transient
from tasks.stages.fetch import fetch_batches, fetch_data_task, fetch_model_task, fetch_source


@pytest.mark.parametrize(
    ("error", "again"),
    [(ServiceError("down"), True), (InputError("wrong"), False), (KeyError("ours"), False), (TimeoutError(), False)],
)
def test_only_a_service_error_is_tried_again(error, again):
    assert is_transient(None, None, Failed(data=error)) is again


@pytest.mark.parametrize("stage", [fetch_model_task, fetch_data_task])
def test_the_waits_grow_are_scattered_and_end(stage):
    assert stage.retries == 3
    assert stage.retry_delay_seconds == sorted(stage.retry_delay_seconds)
    assert stage.retry_jitter_factor > 0
    assert stage.retry_condition_fn is is_transient
    assert stage.timeout_seconds == 3600


def test_the_stages_are_plain_functions_underneath(tmp_path):
    onnx.save_model(
        onnx.parser.parse_model(
            '<ir_version: 10, opset_import: ["": 21]> g (float[2] x) => (float[2] y) { y = Relu(x) }'
        ),
        tmp_path / "net.onnx",
    )
    np.savez(tmp_path / "data.npz", x=np.zeros(2, np.float32))
    assert fetch_model_task.fn is fetch_source
    assert fetch_source(str(tmp_path / "net.onnx")).ref.path == tmp_path / "net.onnx"
    assert fetch_data_task.fn is fetch_batches
    assert fetch_batches(str(tmp_path / "data.npz")).path == tmp_path / "data.npz"
