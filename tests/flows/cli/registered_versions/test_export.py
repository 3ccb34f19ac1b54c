"""`autocast export` of a registered conversion."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.flows.conversions import batches, convert, mlp, working_in
from tests.onnx_models import run_in_onnxruntime

pytestmark = pytest.mark.xdist_group("commands")
MODEL = "models:/exported/1"


@pytest.fixture(scope="module")
def folder(services, tmp_path_factory):
    """Where a conversion was registered."""
    made = tmp_path_factory.mktemp("exported")
    with working_in(made):
        mlp(made / "net.onnx")
        convert("net.onnx", calibration=batches(made / "c.npz").name, name="exported")
        yield made


def assert_computes_as(source, path):
    x = np.linspace(-1, 1, 16, dtype=np.float32).reshape(2, 8)
    (expected,), (found,) = run_in_onnxruntime(source, {"x": x}), run_in_onnxruntime(path, {"x": x.astype(np.float16)})
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-2)


def test_a_folder_holds_the_model_and_what_belongs_to_it(autocast, folder, workplace, tmp_path):
    ended = autocast("export", MODEL, "--output", tmp_path / "out", "--json")
    assert ended.code == 0
    assert ended.json["signed"] is False
    assert {"model.onnx", "README.md", "plan.json", "report.html", "bom.cdx.json"} <= set(ended.json["files"])
    assert_computes_as(folder / "net.onnx", tmp_path / "out" / "model.onnx")
    materials = {each["name"] for each in json.loads((tmp_path / "out" / "bom.cdx.json").read_text())["components"]}
    assert materials == {"calibration", "source-model"}


def test_a_triton_repository_holds_the_model_by_its_version(autocast, folder, workplace, tmp_path):
    with working_in(tmp_path):
        assert autocast("export", MODEL, "--as", "triton", "--output", "repository").code == 0
    model = tmp_path / "repository" / "exported"
    assert sorted(path.name for path in model.iterdir()) == ["1", "about", "config.pbtxt"]
    assert_computes_as(folder / "net.onnx", model / "1" / "model.onnx")
    assert 'input [ { name: "x" data_type: TYPE_FP16 dims: [ -1, 8 ] } ]' in (model / "config.pbtxt").read_text()


def test_an_oci_layout_has_the_digest_that_the_command_says(autocast, folder, workplace, tmp_path):
    ended = autocast("export", MODEL, "--as", "oci", "--output", tmp_path / "layout", "--json")
    (entry,) = json.loads((tmp_path / "layout" / "index.json").read_text())["manifests"]
    assert entry["digest"] == ended.json["digest"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((MODEL, "--as", "zip", "--output", "new"), "give folder, triton or oci"),
        ((MODEL, "--output", "."), "exists: give the name of a new folder"),
        (("models:/exported/9", "--output", "new"), "there is no models:/exported/9"),
        (("net.onnx", "--output", "new"), "is not a registered version"),
    ],
)
def test_what_cannot_be_exported_is_one_line(autocast, folder, workplace, arguments, says):
    ended = autocast("export", *arguments)
    assert (ended.code, len(ended.errors)) == (2, 1)
    assert says in ended.errors[0]
    assert not Path("new").exists()
