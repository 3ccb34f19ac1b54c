"""The forms of an exported version, from plain values."""

import json
import shutil
import subprocess

import pytest

from autocast_core.errors import UnconvertibleError
from flows.export.bom import bill_of_materials
from flows.export.oci import write_layout
from flows.export.triton import config

PORTS = (
    ("input", "x", "float16", "N × 3 × ? × 224"),
    ("input", "step", "int64", "scalar"),
    ("output", 'y"', "bfloat16", "N × 10"),
)


def test_a_triton_configuration_has_each_dimension_and_no_batch_of_its_own():
    lines = config("resnet", PORTS, "fp16").splitlines()
    assert lines[0] == 'name: "resnet"'
    assert "max_batch_size: 0" in lines
    assert 'input [ { name: "x" data_type: TYPE_FP16 dims: [ -1, 3, -1, 224 ] } ]' in lines
    assert 'input [ { name: "step" data_type: TYPE_INT64 dims: [ 1 ] reshape { shape: [ ] } } ]' in lines
    assert 'output [ { name: "y\\"" data_type: TYPE_BF16 dims: [ -1, 10 ] } ]' in lines


@pytest.mark.parametrize("port", [("input", "x", "complex64", "3"), ("output", "x", "float", "unknown")])
def test_what_triton_cannot_be_told_is_named(port):
    with pytest.raises(UnconvertibleError, match=f"{port[0]} 'x' .* has no form in Triton"):
        config("net", (port,), "fp16")


@pytest.fixture
def layout(tmp_path):
    """The folder of an OCI layout of two files, and its manifest."""
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"two")
    files = {"model.onnx": tmp_path / "a", "about/README.md": tmp_path / "b"}
    digest = write_layout(tmp_path / "layout", files, "3", {"autocast.precision": "fp16"})
    manifest = (tmp_path / "layout" / "blobs" / digest.replace(":", "/")).read_text()
    return tmp_path / "layout", json.loads(manifest)


def test_an_oci_layout_has_the_files_as_layers(layout):
    folder, manifest = layout
    blobs = folder / "blobs"
    titles = {each["annotations"]["org.opencontainers.image.title"]: each for each in manifest["layers"]}
    assert {name: (blobs / each["digest"].replace(":", "/")).read_bytes() for name, each in titles.items()} == {
        "model.onnx": b"one",
        "about/README.md": b"two",
    }


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_skopeo_reads_and_copies_an_oci_layout(layout, tmp_path):
    folder, manifest = layout
    command = ["skopeo", "inspect", "--raw", f"oci:{folder}:3"]
    assert json.loads(subprocess.run(command, check=True, capture_output=True).stdout) == manifest
    command = ["skopeo", "copy", "--quiet", f"oci:{folder}:3", f"dir:{tmp_path / 'copy'}"]
    assert subprocess.run(command, capture_output=True).returncode == 0


def bill():
    materials = {"source-model": ("s3://m/resnet.onnx", "b" * 64), "calibration": ("", "c" * 64)}
    metrics = {"fidelity/rel_l2": 0.001}
    return bill_of_materials("resnet-fp16", "3", PORTS, {"model.onnx": "a" * 64}, materials, metrics)


def test_a_bill_of_materials_names_the_model_its_data_and_what_was_measured():
    bom = bill()
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    model = bom["metadata"]["component"]
    assert model["components"][0]["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"] == [
        {"type": "fidelity/rel_l2", "value": "0.001"}
    ]
    assert [(each["type"], each["name"]) for each in bom["components"]] == [
        ("data", "calibration"),
        ("machine-learning-model", "source-model"),
    ]
    assert bom["dependencies"] == [{"ref": "resnet-fp16@3", "dependsOn": ["calibration", "source-model"]}]


def test_a_bill_of_materials_is_what_cyclonedx_accepts():
    """By its JSON schema in the strict form, which refuses what it does not know."""
    pytest.importorskip("cyclonedx", reason="cyclonedx-python-lib, which has the schema, is not installed")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(json.dumps(bill())) is None
    assert validator.validate_str(json.dumps({**bill(), "serialNumber": "none", "more": 1})) is not None


def test_equal_conversions_have_one_bill_of_materials():
    assert bill() == bill()
