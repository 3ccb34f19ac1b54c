"""A model over 2 GB is logged without being loaded whole."""

import subprocess
import sys

import onnx
import pytest

pytestmark = pytest.mark.slow
BYTES = 2_300_000_000
LIMIT = 1_000_000_000

LOG = """
import resource, sys
from pathlib import Path
from autocast_core.model import files_digest
from autocast_core.model.reference import ModelRef
from tasks.tracking.logged_model import log_model
from tasks.tracking.registry.model_versions import register_version
from tasks.tracking.runs import begin_run
folder = Path(sys.argv[1])
files = [folder / "model.onnx", folder / "model.onnx.data"]
run = begin_run(f"sqlite:///{folder / 'mlflow.db'}", "large", {}, {})
logged = log_model(run, ModelRef(files[0], files_digest(folder, files)), files, name="large", params={}, metadata={})
print(register_version(run, logged, "large", tags={}, description="", alias="candidate").uri)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def test_a_model_over_2_gb_is_logged_in_little_memory(tmp_path):
    count = BYTES // 2
    text = f'<ir_version: 9, opset_import: ["": 17]> g (float16[1] x) => (float16[{count}] y) {{ y = Add(x, w) }}'
    model = onnx.parser.parse_model(text)
    weight = model.graph.initializer.add(name="w", data_type=onnx.TensorProto.FLOAT16, dims=[count])
    weight.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "model.onnx.data"), ("offset", "0"), ("length", str(BYTES))):
        weight.external_data.add(key=key, value=value)
    onnx.save(model, tmp_path / "model.onnx")
    with (tmp_path / "model.onnx.data").open("wb") as file:
        file.truncate(BYTES)
    done = subprocess.run([sys.executable, "-c", LOG, str(tmp_path)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    uri, peak = done.stdout.split()[-2:]
    assert uri == "models:/large/1"
    assert int(peak) < LIMIT
    stored = list((tmp_path / "mlartifacts").rglob("model.onnx.data"))
    assert [file.stat().st_size for file in stored] == [BYTES]
