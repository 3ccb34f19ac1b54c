"""`autocast verify` on a version of which one link was changed: it says which, whoever changed it."""

import json
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.flows.conversions import batches, client, convert, mlp, registered_folder, working_in

pytestmark = pytest.mark.xdist_group("commands")
WIDE = '<ir_version: 9, opset_import: ["": 17]> g (float[N, 8] x) => (float[N, 512] y) { [second] y = MatMul(x, w) }'
MODEL = "models:/tampered/1"


@pytest.fixture(scope="module")
def version(services, tmp_path_factory):
    """A conversion whose source, and whose registered model, keep their weights in a file beside the model."""
    folder = tmp_path_factory.mktemp("tampered")
    with working_in(folder) as patch:
        patch.setattr("autocast_core.model.writer.INLINE_LIMIT", 100)
        source = onnx.parser.parse_model(WIDE)
        weights = np.random.default_rng(3).normal(size=(8, 512)).astype(np.float32)
        source.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
        onnx.save(source, folder / "net.onnx", save_as_external_data=True, location="net.data", size_threshold=0)
        data, labelled = batches(folder / "c.npz"), batches(folder / "e.npz", x=np.ones((3, 8), np.float32))
        result = convert("net.onnx", calibration=data.name, evaluation=labelled.name, name="tampered")
        yield folder, result


@pytest.fixture
def verify(autocast, version, workplace, monkeypatch):
    """`verify()`: how the command ends, called in another folder, and the links that do not hold."""
    monkeypatch.setattr("autocast_core.model.writer.INLINE_LIMIT", 100)

    def call():
        ended = autocast("verify", MODEL, "--json")
        return ended, [link["what"] for link in ended.json["links"] or () if not link["ok"]]

    return call


@contextmanager
def flipped(path, at=-1):
    """One bit of a file changed, for a while."""
    content = path.read_bytes()
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + (content[at + 1 :] if at != -1 else b""))
    try:
        yield
    finally:
        path.write_bytes(content)


def test_all_links_hold_where_nothing_was_changed(verify, version):
    ended, broken = verify()
    assert ended.code == 0 and broken == []
    assert {path.name for path in registered_folder("tampered", "1").iterdir()} >= {"model.onnx", "model.onnx.data"}


@pytest.mark.parametrize(
    ("name", "links"),
    [
        (
            "net.data",
            ["sha256 of the source", "weights that the plan is for", "sha256 of plan applied to source"],
        ),
        ("c.npz", ["sha256 of the calibration data"]),
        ("e.npz", ["sha256 of the evaluation data"]),
    ],
)
def test_a_bit_of_what_was_read(verify, version, name, links):
    with flipped(version[0] / name):
        ended, broken = verify()
    assert ended.code == 2 and broken == links
    assert f"{MODEL} is not what it says: {links[0]} is" in ended.errors[0]


def test_data_that_are_gone_verify_nothing(verify, version):
    path = version[0] / "c.npz"
    path.rename(path.with_suffix(".away"))
    try:
        ended, broken = verify()
    finally:
        path.with_suffix(".away").rename(path)
    assert ended.code == 2 and broken == ["sha256 of the calibration data"]
    assert "could not be checked: data" in ended.errors[0]


@pytest.mark.parametrize("name", ["model.onnx.data", "model.onnx"])
def test_a_bit_of_what_is_registered(verify, version, name):
    path = registered_folder("tampered", "1") / name
    at = path.read_bytes().index(b"second") if name == "model.onnx" else -1
    with flipped(path, at):
        ended, broken = verify()
    assert ended.code == 2 and broken == ["sha256 of the registered files"]


@pytest.mark.parametrize(
    ("tag", "value", "links"),
    [
        ("autocast.source_sha256", "0" * 64, ["autocast.source_sha256 of run", "sha256 of the source"]),
        (
            "autocast.output_sha256",
            "0" * 64,
            ["sha256 of the registered files", "autocast.output_sha256 of run", "sha256 of plan applied to source"],
        ),
        ("autocast.identity", "0" * 64, ["identity of source, data, spec and engine version"]),
        ("autocast.version", "9.9", ["autocast.version of run", "identity of source, data, spec and engine version"]),
        ("autocast.precision", "bf16", ["autocast.precision of run", "precision of the plan"]),
        ("autocast.evaluation_data", "random", ["autocast.evaluation_data of run"]),
        ("autocast.gate", "failed", ["autocast.gate of run"]),
    ],
)
def test_a_tag_of_the_version(verify, version, tag, value, links):
    before = client().get_model_version("tampered", "1").tags[tag]
    client().set_model_version_tag("tampered", "1", tag, value)
    try:
        ended, broken = verify()
    finally:
        client().set_model_version_tag("tampered", "1", tag, before)
    assert ended.code == 2
    assert [link.partition(" of run")[0] for link in broken] == [link.partition(" of run")[0] for link in links]


def test_a_tag_of_the_run(verify, version):
    run = version[1].run_id
    client().set_tag(run, "autocast.source_sha256", "0" * 64)
    try:
        ended, broken = verify()
    finally:
        client().set_tag(run, "autocast.source_sha256", version[1].source_sha256)
    assert ended.code == 2
    assert broken == [f"autocast.source_sha256 of run {run}", "identity of source, data, spec and engine version"]


def test_a_source_elsewhere(verify, version, workplace):
    other = mlp(workplace / "other.onnx", seed=9)
    before = client().get_model_version("tampered", "1").tags["autocast.source"]
    client().set_model_version_tag("tampered", "1", "autocast.source", str(other))
    try:
        ended, broken = verify()
    finally:
        client().set_model_version_tag("tampered", "1", "autocast.source", before)
    assert ended.code == 2
    assert broken == [
        f"autocast.source of run {version[1].run_id}",
        "sha256 of the source",
        "structure that the plan is for",
        "weights that the plan is for",
        "sha256 of plan applied to source",
    ]


@pytest.mark.parametrize(
    ("change", "links"),
    [
        (lambda plan: plan["nodes"][0].update(precision="fp32"), ["sha256 of plan applied to source"]),
        (lambda plan: plan.update(structure_digest="0" * 64), ["structure that the plan is for"]),
        (lambda plan: plan.update(weights_digest="0" * 64), ["weights that the plan is for"]),
    ],
    ids=["a decision", "the structure", "the weights"],
)
def test_the_plan_of_the_run(verify, version, workplace, change, links):
    run = version[1].run_id
    text = Path(client().download_artifacts(run, "plan.json", str(workplace))).read_text()
    changed = json.loads(text)
    change(changed)
    client().log_text(run, json.dumps(changed), "plan.json")
    try:
        ended, broken = verify()
    finally:
        client().log_text(run, text, "plan.json")
    assert ended.code == 2 and broken == links
