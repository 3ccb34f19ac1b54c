import onnx
import onnx.parser

from tasks.publish import publish_model, publish_task
from tasks.retries import is_transient


def test_publishing_is_tried_again_for_service_errors_only():
    assert publish_task.fn is publish_model
    assert publish_task.retries == 3
    assert publish_task.retry_condition_fn is is_transient


def test_a_folder_receives_the_model_and_its_plan(tmp_path):
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 21]> g (float[2] x) => (float[2] y) { y = Relu(x) }'
    )
    onnx.save_model(model, tmp_path / "model.onnx")
    (tmp_path / "p.json").write_text("{}")
    published = publish_model(tmp_path / "model.onnx", str(tmp_path / "out"), tmp_path / "p.json")
    assert published.uri == str(tmp_path / "out" / "model.onnx")
    assert (tmp_path / "out" / "plan.json").read_text() == "{}"
