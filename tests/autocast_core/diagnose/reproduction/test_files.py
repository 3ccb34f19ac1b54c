"""A reproduction's files: they run without this project."""

import subprocess
import sys

import numpy as np
import onnx
import pytest

from autocast_core.backends.onnxruntime import OnnxRuntime
from autocast_core.diagnose.reproduction.files import write_reproduction
from autocast_core.diagnose.reproduction.reproduction import reproduction
from autocast_core.errors import OutputError
from autocast_core.model import load_proto
from tests.autocast_core.diagnose.diagnosed import diagnosed, model, normal, whole_fp16

IO = "(float[N, 16] x) => (float[N, 16] y)"
SOURCE = model("a = Mul(x, k)\nb = Mul(a, a)\nc = Div(a, b)\nd = Mul(c, k)\ny = Add(d, x)", IO, "float k = {500.0}")
DATA = {"x": np.abs(normal(8, 16)) + 0.6}


def written(folder, candidate, source=SOURCE):
    runtime = OnnxRuntime(("cpu",), threads=1)
    found = reproduction(load_proto(source), load_proto(candidate), diagnosed(source, candidate, DATA), runtime)
    return {path.name for path in write_reproduction(found, folder)}


def run(folder, *options):
    """reproduce.py as its reader runs it: in another folder, with nothing of this project on the path."""
    command = [sys.executable, "-I", str(folder / "reproduce.py"), *options]
    return subprocess.run(command, cwd=folder.parent, capture_output=True, text=True, timeout=120)


def test_the_script_shows_expected_and_actual(tmp_path):
    files = written(tmp_path / "fault", whole_fp16(SOURCE))
    models = {"candidate.onnx", "candidate_simulated.onnx", "reference.onnx"}
    assert files == {*models, "inputs.npz", "reproduce.py", "README.md"}
    for name in models:
        loaded = onnx.load(tmp_path / "fault" / name)
        onnx.checker.check_model(loaded, full_check=True)
        assert len([node for node in loaded.graph.node if node.op_type != "Cast"]) == 1
    ended = run(tmp_path / "fault")
    assert ended.returncode == 0, ended.stderr
    assert "elements not finite" in ended.stdout and "the fault shows" in ended.stdout
    assert " inf" in ended.stdout


def test_the_candidate_can_be_run_as_it_is(tmp_path):
    """ONNX Runtime's CPU provider rounds its result to FP16 too, as there is one node."""
    written(tmp_path / "fault", whole_fp16(SOURCE))
    ended = run(tmp_path / "fault", "--as-is", "CPUExecutionProvider")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("candidate.onnx in CPUExecutionProvider")


def test_what_the_reference_gave_is_a_file_where_it_has_no_nodes_there(tmp_path):
    source = model("a = Mul(x, x)\ny = Tanh(a)", IO)
    other = model("a = Mul(x, x)\ni = Cast <to = 6> (a)\nf = Cast <to = 1> (i)\ny = Tanh(f)", IO)
    files = written(tmp_path / "fault", other, source)
    assert "expected.npy" in files and "reference.onnx" not in files and "candidate_simulated.onnx" not in files
    assert run(tmp_path / "fault").returncode == 0


def test_the_readme_says_what_where_and_how(tmp_path):
    written(tmp_path / "fault", whole_fp16(SOURCE))
    text = (tmp_path / "fault" / "README.md").read_text()
    assert text.startswith("# Overflow at graph/Mul_")
    for part in ("become infinite in FP16", "| element | expected | actual |", "| inf |", "python reproduce.py", "`y`"):
        assert part in text


def test_names_of_anyones_model_run_no_code_and_change_no_page(tmp_path):
    source = onnx.ModelProto()
    source.CopyFrom(SOURCE)
    for node in source.graph.node:
        node.name = f'{node.output[0]}"""\nraise SystemExit(7) #`|<b>'
    written(tmp_path / "fault", whole_fp16(source), source)
    assert run(tmp_path / "fault").returncode == 0
    text = (tmp_path / "fault" / "README.md").read_text()
    assert "<b>" not in text and "\nraise" not in text


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot make the folder"):
        written(tmp_path / "file", whole_fp16(SOURCE))
