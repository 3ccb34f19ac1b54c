import hashlib
import logging

import numpy as np
import onnx
import onnx.parser
import pytest

from autocast_core import (
    ConversionConfig,
    NodeRuleBase,
    Precision,
    convert_file,
    convert_to_f16,
    convert_to_mixed_precision,
)
from autocast_core.errors import (
    AutocastError,
    ConfigError,
    DataError,
    ModelError,
    OutputError,
    PlanError,
    UnconvertibleError,
)
from autocast_core.model import files_digest

TEXT = """<ir_version: 8, opset_import: ["": 17]>
g (float[2,3] x) => (float[2,3] y) <float[3,3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9}> { [m] a = MatMul(x, w)
            [e] y = Softmax(a) }"""
X = np.array([[1.0, -2.0, 3.0], [0.5, 0.25, -4.0]], np.float32)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.onnx"
    onnx.save(onnx.parser.parse_model(TEXT), path)
    return path


def test_a_conversion_tells_what_it_did(source, tmp_path):
    seen = []
    done = convert_file(source, tmp_path / "out.onnx", calibration={"x": X}, progress=seen.append)
    assert done.source_digest == hashlib.sha256(source.read_bytes()).hexdigest()
    assert done.bytes_before == source.stat().st_size
    assert done.bytes_after == (tmp_path / "out.onnx").stat().st_size == done.output.bytes
    assert done.casts_inserted == 0
    stages = ["load", "sanitize", "calibrate", "decide", "apply", "verify", "write"]
    assert list(done.timings) == stages
    assert [stage for stage in dict.fromkeys(each.stage for each in seen) if stage in stages] == stages
    assert done.plan.data.origin == "calibration"
    assert done.plan.engine_version


def test_the_digest_of_a_source_with_external_data_is_that_of_all_its_files(source, tmp_path):
    external = tmp_path / "external"
    external.mkdir()
    model = onnx.load(source)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.eye(3, dtype=np.float32), "w"))
    onnx.save(model, external / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    done = convert_file(external / "m.onnx", tmp_path / "out.onnx", calibration={"x": X})
    assert done.source_digest == files_digest(external, [external / "m.onnx", external / "w.bin"])
    assert done.bytes_before == sum(path.stat().st_size for path in external.iterdir())


def test_a_plan_needs_no_data_and_converts_the_next_checkpoint(source, tmp_path):
    first = convert_file(source, tmp_path / "out.onnx", ConversionConfig(op_types_to_exclude=("Softmax",)))
    model = onnx.load(source)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.eye(3, dtype=np.float32), "w"))
    onnx.save(model, tmp_path / "next.onnx")
    done = convert_file(tmp_path / "next.onnx", tmp_path / "out2.onnx", plan=first.plan)
    assert [str(d.precision) for d in done.plan.nodes] == ["fp16", "fp32"]
    assert "calibrate" not in done.timings
    assert any("other weights" in warning for warning in done.warnings)


def test_a_plan_brings_its_own_precision(source, tmp_path):
    first = convert_file(source, tmp_path / "out.onnx", ConversionConfig(precision=Precision.BF16))
    done = convert_file(source, tmp_path / "out2.onnx", ConversionConfig(), plan=first.plan)
    assert (tmp_path / "out2.onnx").read_bytes() == (tmp_path / "out.onnx").read_bytes()
    assert done.plan.precision == Precision.BF16


def test_a_plan_for_another_structure_is_refused_and_nothing_is_written(source, tmp_path):
    plan = convert_file(source, tmp_path / "out.onnx").plan
    onnx.save(onnx.parser.parse_model(TEXT.replace("Softmax", "Exp")), tmp_path / "other.onnx")
    with pytest.raises(PlanError, match="graph/e \\(Softmax in the plan\\)"):
        convert_file(tmp_path / "other.onnx", tmp_path / "out2.onnx", plan=plan)
    assert not (tmp_path / "out2.onnx").exists()


def test_a_model_that_the_checker_refuses_is_refused_before_any_work(tmp_path):
    model = onnx.parser.parse_model(TEXT)
    model.graph.node[0].attribute.add(name="no_such_attribute", type=onnx.AttributeProto.INT)
    onnx.save(model, tmp_path / "bad.onnx")
    seen = []
    with pytest.raises(ModelError, match="no_such_attribute"):
        convert_file(tmp_path / "bad.onnx", tmp_path / "out.onnx", progress=seen.append)
    assert {each.stage for each in seen} <= {"load"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.onnx"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"src": None}, "the model is a NoneType: give the path"),
        ({"src": b"model"}, "the model is a bytes: give the path"),
        ({"config": {"precision": "fp16"}}, "the config is a dict: give a ConversionConfig"),
        ({"plan": "plan.json"}, "the plan is a str: give a PrecisionPlan, as read_plan returns"),
        ({"calibration": [{"x": np.ones((2, 3), "f4")}]}, "the data is a list: give the path"),
        ({"calibration": np.ones((2, 3), "f4")}, "the data is a ndarray: give the path"),
    ],
)
def test_what_is_of_another_kind_is_named_with_what_to_give(source, tmp_path, given, said):
    with pytest.raises(AutocastError, match=said):
        convert_file(**{"src": source, "dst": tmp_path / "out.onnx", **given})


def test_data_that_do_not_fit_are_refused(source, tmp_path):
    with pytest.raises(DataError, match="'x'"):
        convert_file(source, tmp_path / "out.onnx", calibration={"x": X[:, :2]})


def test_a_destination_that_cannot_be_written_is_an_output_error(source, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        convert_file(source, tmp_path / "file" / "out.onnx")


def test_without_limits_no_data_are_looked_at(source, tmp_path, caplog):
    done = convert_file(source, tmp_path / "out.onnx", ConversionConfig(data_max=float("inf")))
    assert done.plan.data.origin == "none"
    assert done.warnings == ()


def test_random_data_are_said_to_be_random(source, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="autocast_core"):
        done = convert_file(source, tmp_path / "out.onnx")
    assert done.plan.data.origin == "random"
    assert any("random" in record.getMessage() for record in caplog.records)


def test_convert_to_mixed_precision_has_autocasts_parameters(source, tmp_path):
    np.savez(tmp_path / "data.npz", x=X)
    model = convert_to_mixed_precision(
        str(source), "fp16", nodes_to_exclude=["e"], calibration_data=str(tmp_path / "data.npz"), keep_io_types=True
    )
    assert isinstance(model, onnx.ModelProto)
    assert [node.op_type for node in model.graph.node] == ["Cast", "MatMul", "Cast", "Softmax"]
    onnx.checker.check_model(model, full_check=True)


def test_convert_to_mixed_precision_takes_a_custom_rule(source):
    class KeepAll(NodeRuleBase):
        def _check_inner(self, node):
            return True

    model = convert_to_mixed_precision(source, custom_rule=KeepAll())
    assert [tensor.data_type for tensor in model.graph.initializer] == [onnx.TensorProto.FLOAT]


def test_convert_to_mixed_precision_refuses_a_type_it_does_not_know(source):
    with pytest.raises(ConfigError, match="fp8"):
        convert_to_mixed_precision(source, "fp8")


def test_convert_to_f16_takes_every_node_but_blocked_types(source):
    model = onnx.load(source)
    found = convert_to_f16(model)
    assert [node.op_type for node in found.graph.node] == ["Cast", "MatMul", "Softmax", "Cast"]
    found = convert_to_f16(model, keep_io_types=False, op_block_list=["Softmax"])
    assert [node.op_type for node in found.graph.node] == ["MatMul", "Cast", "Softmax", "Cast"]
    found = convert_to_f16(model, "bf16", keep_io_types=False)
    assert found.graph.initializer[0].data_type == onnx.TensorProto.BFLOAT16


def test_convert_to_f16_leaves_blocked_operands_in_fp32():
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 22]> g (float[1,1,2,2] x, '
        "float[1,2,2,2] g) => (float[1,1,2,2] y) { y = GridSample(x, g) }"
    )
    found = convert_to_f16(model, keep_io_types=False, tensor_block_dict={"GridSample": {"inp": [1]}})
    assert [value.type.tensor_type.elem_type for value in found.graph.input] == [10, 10]
    assert [node.op_type for node in found.graph.node] == ["Cast", "GridSample"]


def test_an_upgrade_that_cannot_be_names_the_node(tmp_path):
    model = onnx.parser.parse_model(
        '<ir_version: 3, opset_import: ["": 8]> g (int64[2] n, float[2,3] h, float[2,4,3] xs) => (float[2,3] l, '
        "float[2,4,3] ys) { [s] l, ys = Scan(n, h, xs) <num_scan_inputs = 1, body = b (float[3] a, "
        "float[3] x) => (float[3] c, float[3] d) { c = Add(a, x) d = Neg(c) }> }"
    )
    onnx.save(model, tmp_path / "old.onnx")
    with pytest.raises(UnconvertibleError, match="Scan"):
        convert_file(tmp_path / "old.onnx", tmp_path / "out.onnx")


@pytest.fixture
def above_two_gigabytes(tmp_path, monkeypatch):
    """A model that does not fit one file, by a limit of 4,096 bytes, and where temporary folders are made."""
    model = onnx.parser.parse_model(
        TEXT.replace("[2,3]", "[2,64]").replace("<float[3,3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9}>", "")
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.arange(4096, dtype=np.float32).reshape(64, 64), "w"))
    onnx.save(model, tmp_path / "large.onnx")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr("autocast_core.model.writer.INLINE_LIMIT", 4096)
    return tmp_path / "large.onnx"


@pytest.mark.parametrize(
    "options", [{}, {"save_as_external_data": True}, {"save_as_external_data": True, "location": "w.bin"}]
)
def test_a_returned_model_above_two_gigabytes_is_saved_with_its_weights(above_two_gigabytes, tmp_path, options):
    model = convert_to_mixed_precision(above_two_gigabytes, init_max=None, data_max=None)
    assert list((tmp_path / "temporary").iterdir()) == []
    (tmp_path / "out").mkdir()
    onnx.save(model, tmp_path / "out" / "model.onnx", **options)
    weights = onnx.numpy_helper.to_array(onnx.load(tmp_path / "out" / "model.onnx").graph.initializer[0])
    np.testing.assert_array_equal(weights, np.arange(4096).reshape(64, 64).astype(np.float16))


def test_a_failed_conversion_above_two_gigabytes_leaves_no_folder(above_two_gigabytes, tmp_path):
    with pytest.raises(ConfigError):
        convert_to_mixed_precision(above_two_gigabytes, opset=99)
    assert list((tmp_path / "temporary").iterdir()) == []
