"""A limit on memory is told before native code runs into it."""

import subprocess
import sys
from pathlib import Path

import onnx
import onnx.parser
import pytest

MIB = 1 << 20
LIMITED = """
import resource, sys
from autocast_core.__main__ import command
import autocast_core.backends.onnxruntime, autocast_core.pipeline.convert
from autocast_core.process.memory_limits import kilobytes, _STATUS
limit = kilobytes(_STATUS, sys.argv[1]) + int(sys.argv[3])
resource.setrlimit(getattr(resource, sys.argv[2]), (limit, limit))
sys.exit(command(sys.argv[4:]))
"""


@pytest.mark.parametrize(("used", "limit", "option"), [("VmData", "RLIMIT_DATA", "-d"), ("VmSize", "RLIMIT_AS", "-v")])
def test_a_limit_that_onnx_runtime_would_not_survive_is_told(
    used: str, limit: str, option: str, tmp_path: Path
) -> None:
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[4] x) => (float[4] y) { y = Exp(x) }'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "m.onnx")
    command = [sys.executable, "-c", LIMITED, used, limit, str(100 * MIB), "--onnx_path", str(tmp_path / "m.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stderr.splitlines()[-1]
    assert done.returncode == 2
    assert said.startswith(f"error: {limit} leaves ") and f"MiB to start: raise the limit (ulimit {option})" in said
    assert not (tmp_path / "m.fp16.onnx").exists()
