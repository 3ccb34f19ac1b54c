import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from autocast_core.__main__ import command, get_parser, main
from autocast_core.errors import ConfigError, MissingModelError
from autocast_core.model import reader
from autocast_core.model.protobuf.skeleton import skeleton
from tests.onnx_models import interface_types, operator_types

TEXT = """<ir_version: 8, opset_import: ["": 17]>
g (float[2,3] x) => (float[2,3] y) <float[3,3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9}> { [m] a = MatMul(x, w)
            [e] y = Softmax(a) }"""


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(onnx.parser.parse_model(TEXT), path)
    return path


def test_the_output_is_named_after_the_model_and_the_precision(source):
    """As AutoCast: MODEL.fp16.onnx, MODEL.bf16.onnx."""
    assert command(["--onnx_path", str(source)]) == 0
    assert command(["--onnx_path", str(source), "-t", "bf16"]) == 0
    assert sorted(path.name for path in source.parent.iterdir()) == ["model.bf16.onnx", "model.fp16.onnx", "model.onnx"]


@pytest.mark.parametrize("arguments", [[], ["--widen"]])
def test_the_model_file_is_read_once(source, tmp_path, monkeypatch, arguments):
    reads = []
    monkeypatch.setattr(reader, "skeleton", lambda *given: reads.append(given) or skeleton(*given))
    assert command(["--onnx_path", str(source), "--output_path", str(tmp_path / "out.onnx"), *arguments]) == 0
    assert len(reads) == 1


def test_main_returns_the_model_that_it_wrote(source):
    """As AutoCast's main, for scripts that import it."""
    model = main(["--onnx_path", str(source), "--output_path", str(source.parent / "out.onnx")])
    assert model == onnx.load(source.parent / "out.onnx")
    assert operator_types(model) == ["MatMul", "Softmax"]


def test_main_raises_what_the_command_prints():
    with pytest.raises(MissingModelError, match=r"missing\.onnx: no such file"):
        main(["--onnx_path", "missing.onnx"])
    with pytest.raises(ConfigError, match="data_max"):
        main(["--onnx_path", "missing.onnx", "--data_max", "-1"])


def test_inputs_and_outputs_that_only_fp32_nodes_touch_are_low_as_with_autocast(source, tmp_path):
    target = tmp_path / "out.onnx"
    assert command(["--onnx_path", str(source), "--output_path", str(target), "--data_max", "0"]) == 0
    assert operator_types(target) == ["Cast", "MatMul", "Softmax", "Cast"]
    assert set(interface_types(onnx.load(target)).values()) == {onnx.TensorProto.FLOAT16}


def test_both_16_bit_types_are_in_the_name_and_in_the_plan(source, tmp_path):
    plan = tmp_path / "plan.json"
    assert command(["--onnx_path", str(source), "-t", "fp16,bf16", "--init_max", "8", "--save_plan", str(plan)]) == 0
    assert source.with_suffix(".fp16-bf16.onnx").exists()
    written = json.loads(plan.read_text())
    assert written["precision"] == ["fp16", "bf16"]
    assert [node["precision"] for node in written["nodes"]] == ["bf16", "fp16"]


def test_a_demanded_opset_that_cannot_hold_both_types_is_bad_usage(source, capsys):
    arguments = ["--onnx_path", str(source), "-t", "fp16,bf16", "--init_max", "8", "--opset", "12"]
    model = onnx.load(source)
    model.opset_import[0].version = 12
    onnx.save(model, source)
    assert command(arguments) == 2
    assert "node graph/m needs the range of bf16" in capsys.readouterr().err
    assert not source.with_suffix(".fp16-bf16.onnx").exists()


def test_defaults_are_autocasts():
    found = get_parser().parse_args(["--onnx_path", "m.onnx"])
    assert (found.low_precision_type, found.data_max, found.init_max, found.keep_io_types) == ("fp16", 512, 65504, None)
    assert (found.init_conversion_max_bytes, found.max_depth_of_reduction, found.opset) == (None, None, None)
    assert (found.log_level, found.use_standalone_type_inference) == ("INFO", False)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--keep_io_types"], ["Cast", "MatMul", "Softmax", "Cast"]),
        (["--keep_io_types", "y"], ["MatMul", "Softmax", "Cast"]),
        (["--op_types_to_exclude", "Softmax"], ["MatMul", "Cast", "Softmax", "Cast"]),
        (["-op", "Softmax"], ["MatMul", "Cast", "Softmax", "Cast"]),
        (["-n", "m", "e"], ["Cast", "MatMul", "Softmax", "Cast"]),
        (["--nodes_to_exclude", "e$", "--keep_io_types", "x"], ["Cast", "MatMul", "Cast", "Softmax", "Cast"]),
        (["--op_types_to_exclude", "Softmax", "--nodes_to_include", "e"], ["MatMul", "Softmax"]),
        (["--data_max", "1e-9"], ["Cast", "MatMul", "Softmax", "Cast"]),
        (["--data_max", "1e-9", "--op_types_to_include", "MatMul", "Softmax", "-t", "bf16"], ["MatMul", "Softmax"]),
        (["--init_max", "8"], ["Cast", "MatMul", "Cast", "Softmax"]),
        (["--init_max", "8", "--data_max", "inf"], ["Cast", "MatMul", "Cast", "Softmax"]),
        (["--max_depth_of_reduction", "2"], ["Cast", "MatMul", "Softmax", "Cast"]),
        (["--init_conversion_max_bytes", "8", "--opset", "19"], ["Cast", "MatMul", "Softmax"]),
    ],
)
def test_flags_do_what_they_say(source, tmp_path, arguments, wanted):
    target = tmp_path / "out.onnx"
    assert command(["--onnx_path", str(source), "--output_path", str(target), *arguments]) == 0
    assert operator_types(target) == wanted


def test_calibration_data_decide(source, tmp_path):
    np.savez(tmp_path / "data.npz", x=np.full((2, 3), 100, np.float32))
    target = tmp_path / "out.onnx"
    assert command(["--onnx_path", str(source), "-d", str(tmp_path / "data.npz"), "--output_path", str(target)]) == 0
    assert {tensor.data_type for tensor in onnx.load(target).graph.initializer} == {onnx.TensorProto.FLOAT}


def test_shapes_of_dynamic_inputs_are_taken(tmp_path):
    text = TEXT.replace("(float[2,3] x) => (float[2,3] y)", "(float[n,3] x) => (float[n,3] y)")
    onnx.save(onnx.parser.parse_model(text), tmp_path / "model.onnx")
    assert command(["--onnx_path", str(tmp_path / "model.onnx"), "--shapes", "x:5x3"]) == 0


def test_a_saved_plan_converts_again_to_the_same_bytes(source, tmp_path):
    first, second, plan = tmp_path / "a.onnx", tmp_path / "b.onnx", tmp_path / "plan.json"
    command(["--onnx_path", str(source), "--output_path", str(first), "-op", "Softmax", "--save_plan", str(plan)])
    assert [node["rule"] for node in json.loads(plan.read_text())["nodes"]] == ["default", "op_type"]
    command(["--onnx_path", str(source), "--output_path", str(second), "--plan", str(plan)])
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--onnx_path", "missing.onnx"], "missing.onnx"),
        (["--onnx_path", "MODEL", "--calibration_data", "missing.npz"], "missing.npz"),
        (["--onnx_path", "MODEL", "--plan", "missing.json"], "missing.json"),
        (["--onnx_path", "MODEL", "--data_max", "-1"], "data_max"),
        (["--onnx_path", "MODEL", "--nodes_to_exclude", "("], "regular expression"),
        (["--onnx_path", "MODEL", "--shapes", "x"], "NAME:1x128"),
        (["--onnx_path", "MODEL", "--trt_plugins_precision", "Foo"], "trt_plugins_precision"),
        (["--onnx_path", "MODEL", "--opset", "99"], "opset 99 is unknown"),
        (["--onnx_path", "MODEL", "--providers", "gpu"], "'gpu'"),
        (["--onnx_path", "."], "is a folder: give the path of an .onnx file"),
        (["--onnx_path", ".", "--widen"], "is a folder: give the path of an .onnx file"),
        (["--onnx_path", "MODEL", "--save_plan", "/none/plan.json"], "there is no folder /none"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(source, capsys, arguments, said):
    arguments = [str(source) if each == "MODEL" else each for each in arguments]
    assert command(arguments) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and said in lines[0]
    assert [path.name for path in source.parent.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize(
    "arguments", [[], ["--onnx_path", "m.onnx", "--nonsense"], ["--onnx_path", "m.onnx", "-t", "fp8"]]
)
def test_wrong_usage_is_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        command(arguments)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and line.endswith("; see `python -m autocast_core --help`")


def test_a_tensor_that_nothing_makes_is_told_in_one_line(tmp_path):
    """By a process of its own: pytest's handlers take what onnx_ir logs."""
    text = '<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y) { y = Add(x, none) }'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "m.onnx")
    program = [sys.executable, "-m", "autocast_core", "--onnx_path", str(tmp_path / "m.onnx")]
    done = subprocess.run(program, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert "reads 'none', which nothing before it makes" in line


@pytest.mark.parametrize("plan", [(), ("--plan",)])
def test_a_folder_that_is_not_there_is_told_before_anything_is_calibrated(source, tmp_path, capsys, monkeypatch, plan):
    arguments = ["--onnx_path", str(source), "--output_path", str(tmp_path / "none" / "o.onnx")]
    if plan:
        assert command(["--onnx_path", str(source), "--save_plan", str(tmp_path / "plan.json")]) == 0
        arguments += [*plan, str(tmp_path / "plan.json")]
    monkeypatch.setattr("autocast_core.pipeline.job.Job.batches", None)
    assert command(arguments) == 2
    assert f"there is no folder {tmp_path / 'none'}" in capsys.readouterr().err


def test_help_imports_nothing_heavy():
    script = """
import sys
from autocast_core.__main__ import command
try:
    command(["--help"])
except SystemExit as end:
    assert not end.code, end.code
heavy = {"onnx", "onnxruntime", "numpy", "prefect", "mlflow", "boto3", "matplotlib", "onnxscript", "tensorrt"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_conversion_loads_neither_symbolic_arithmetic_nor_what_only_measured_decisions_need(source):
    """The first alone costs more than everything else that a small conversion imports."""
    script = """
import atexit, runpy, sys
unneeded = ("sympy.core", "autocast_core.simulate", "autocast_core.evaluate", "autocast_core.search")
atexit.register(lambda: print([name for name in unneeded if name in sys.modules]))
runpy.run_module("autocast_core", run_name="__main__", alter_sys=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, "--onnx_path", str(source), "--log_level", "ERROR"],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "[]", "")


def test_the_summary_is_logged_as_autocast_does(source, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "autocast_core", "--onnx_path", str(source), "--log_level", "DEBUG"],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0
    assert " - INFO - convert.py - Converted 2/2 nodes (100.00%) to fp16\n" in done.stdout
    assert "graph/m goes fp16: default" in done.stdout
    assert done.stderr == f"wrote {source.with_suffix('.fp16.onnx')}\n"


@pytest.mark.parametrize("option", ["--onnx_path", "--calibration_data"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_pipe_or_device_is_refused_and_not_read(source, tmp_path, capsys, option, kind):
    path = tmp_path / "given"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    assert command(["--onnx_path", str(source), option, str(path)]) == 2
    assert f"error: {path} is a pipe or device" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("weights", "arguments", "said"),
    [
        ("1, 2, 3, 4, 5, 6, 7, 8, nan", (), "weight 'w' holds 1 NaN or infinite values"),
        ("1, 2, 3, 4, 5, 6, 7, 8, 9", ("--op_types_to_exclude", "MatMul", "Softmax"), "nothing was converted"),
        ("1, 2, 3, 4, 5, 6, 7, 8, 1e6", ("--init_max", "inf", "--data_max", "inf"), "elements beyond ±65504"),
    ],
    ids=["nan", "nothing", "clamped"],
)
def test_what_is_known_to_be_ruined_is_warned_of(source, weights, arguments, said):
    onnx.save(onnx.parser.parse_model(TEXT.replace("1, 2, 3, 4, 5, 6, 7, 8, 9", weights)), source)
    command = [sys.executable, "-m", "autocast_core", "--onnx_path", str(source), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert said in ended.stdout


def with_data(folder):
    """A model whose weights lie beside it in weights.onnx, and calibration data."""
    model = onnx.parser.parse_model(TEXT)
    (weights,) = model.graph.initializer
    weights.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weights), weights.name))
    onnx.external_data_helper.convert_model_to_external_data(model, location="weights.onnx", size_threshold=0)
    onnx.save(model, folder / "external.onnx")
    np.savez(folder / "data.npz", x=np.zeros((2, 3), "f4"))
    return folder / "external.onnx"


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("--output_path", "weights.onnx"),
        ("--output_path", "external.onnx"),
        ("--output_path", "data.npz"),
        ("--output_path", "hard_link.onnx"),
        ("--save_plan", "weights.onnx"),
        ("--save_plan", "external.onnx"),
        ("--save_plan", "data.npz"),
        ("--save_plan", "external.fp16.onnx"),
        ("--save_plan", "external.fp16.onnx.data"),
    ],
)
def test_no_file_that_is_read_or_written_is_replaced(tmp_path, capsys, option, name):
    source = with_data(tmp_path)
    os.link(tmp_path / "weights.onnx", tmp_path / "hard_link.onnx")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    arguments = ["--onnx_path", str(source), "-d", str(tmp_path / "data.npz"), option, str(tmp_path / name)]
    assert command(arguments) == 2
    assert f"{name}: is " in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("option", ["--output_path", "--save_plan"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_no_link_pipe_or_device_is_replaced(source, tmp_path, capsys, option, kind):
    target, elsewhere = tmp_path / "there.onnx", tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    if kind == "link":
        target.symlink_to(elsewhere)
    else:
        os.mkfifo(target)
    assert command(["--onnx_path", str(source), option, str(target)]) == 2
    assert f"there.onnx: is a {kind}" in capsys.readouterr().err
    assert target.is_symlink() if kind == "link" else target.is_fifo()
    assert elsewhere.read_text() == "mine"


@pytest.mark.parametrize("option", ["--output_path", "--save_plan"])
def test_a_device_is_no_file_to_write(source, option, capsys):
    """As root, the rename would have replaced the node."""
    assert command(["--onnx_path", str(source), option, "/dev/null"]) == 2
    assert "/dev/null: is a pipe or device" in capsys.readouterr().err
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("option", ["--onnx_path", "--output_path", "--calibration_data", "--plan", "--save_plan"])
def test_a_path_of_five_thousand_letters_is_bad_input(source, tmp_path, capsys, option):
    paths = {"--onnx_path": str(source), "--output_path": str(tmp_path / "o.onnx")}
    paths[option] = str(tmp_path / ("a" * 5000))
    assert command([text for pair in paths.items() for text in pair]) == 2
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("declared", "arguments"),
    [
        ("b,3", ("--shapes", "x:1000000000000x3")),
        ("4611686018427387904,3", ()),
        (",".join(["1"] * 1002), ()),
    ],
    ids=["a shape given", "a dimension", "a rank"],
)
def test_inputs_that_no_machine_holds_are_bad_input(tmp_path, capsys, declared, arguments):
    head, body = '<ir_version: 8, opset_import: ["": 17]>', "{ y = ReduceMax<keepdims = 0>(x) }"
    model = onnx.parser.parse_model(f"{head} g (float[{declared}] x) => (float y) {body}")
    onnx.save(model, tmp_path / "m.onnx")
    assert command(["--onnx_path", str(tmp_path / "m.onnx"), *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert not (tmp_path / "m.fp16.onnx").exists()
