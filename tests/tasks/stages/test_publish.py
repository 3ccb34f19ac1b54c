import os

import onnx
import onnx.parser

from tasks.prefect.retries import is_transient
from tasks.stages.publish import publish_model, publish_task

MODEL = '<ir_version: 10, opset_import: ["": 21]> g (float[2] x) => (float[2] y) { y = Relu(x) }'


def save_model(path):
    onnx.save_model(onnx.parser.parse_model(MODEL), path)


def test_publishing_is_tried_again_for_service_errors_only():
    assert publish_task.fn is publish_model
    assert publish_task.retries == 3
    assert publish_task.retry_condition_fn is is_transient


def test_a_folder_receives_the_model_and_its_plan(tmp_path):
    save_model(tmp_path / "model.onnx")
    (tmp_path / "p.json").write_text("{}")
    published = publish_model(tmp_path / "model.onnx", str(tmp_path / "out"), tmp_path / "p.json")
    assert published.uri == str(tmp_path / "out" / "model.onnx")
    assert (tmp_path / "out" / "plan.json").read_text() == "{}"


def test_parts_that_killed_writers_left_are_removed_and_those_of_live_ones_stay(tmp_path):
    model, out = tmp_path / "model.onnx", tmp_path / "out"
    save_model(model)
    out.mkdir()
    dead, alive, other = (out / name for name in (".model.onnx.0a.part", ".model.onnx.0b.part", ".notes.0a.part"))
    for path in (dead, alive, other):
        path.write_bytes(b"half")
    for path in (dead, other):
        os.utime(path, (0, 0))
    publish_model(model, str(out), None)
    assert sorted(path.name for path in out.iterdir()) == [alive.name, other.name, "model.onnx"]
