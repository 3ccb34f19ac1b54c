"""`autocast sign` and `autocast verify --key`: a change of anything that was signed is found."""

import errno
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from autocast_core.errors import ConfigError
from tasks.tracking.registry.review_tags import is_review_tag
from tasks.tracking.store import sqlite_file
from tests.flows.conversions import batches, client, convert, mlp, registered, registered_folder, working_in
from tests.flows.proof.key_files import key_files

pytestmark = pytest.mark.xdist_group("commands")
MODEL = "models:/signed/1"
pytest.importorskip("model_signing", reason="the extra `signing` is not installed")


@pytest.fixture(scope="module")
def version(services, tmp_path_factory):
    """A conversion that its worker signed; the folder with its source, data and keys, and its result."""
    folder = tmp_path_factory.mktemp("signed")
    with working_in(folder) as patch:
        mlp(folder / "net.onnx")
        with patch.context() as signing:
            signing.setenv("AUTOCAST_SIGNING_KEY", str(key_files(folder)[0]))
            result = convert("net.onnx", calibration=batches(folder / "c.npz").name, name="signed")
        yield folder, result


@pytest.fixture
def proof_differences(version, workplace):
    """What differs from what was signed, by the check that the commands make."""
    from flows.proof.keys import read_public_key
    from flows.proof.proof import BrokenProofError, check_proof
    from flows.review.conversion_record import read_conversion

    def check():
        try:
            check_proof(*read_conversion(MODEL), read_public_key(version[0] / "public.pem"))
        except BrokenProofError as error:
            return [each.what for each in error.differences] or [str(error)]
        return []

    return check


def artifacts_folder(run_id):
    return Path(client().get_run(run_id).info.artifact_uri.removeprefix("file://"))


def test_a_worker_with_a_key_signs_what_it_registers_and_verify_says_so(autocast, version, workplace):
    ended = autocast("verify", MODEL, "--key", version[0] / "public.pem", "--json")
    assert ended.code == 0
    assert ended.json["links"][0]["what"] == "proof signed with the key"


def test_the_foreign_tool_verifies_the_signature_of_the_files(version, workplace, tmp_path):
    signature = client().download_artifacts(version[1].run_id, "proof/model.sig", str(tmp_path))
    program = Path(sys.executable).with_name("model_signing")
    command = [program, "verify", "key", registered_folder("signed", "1"), "--signature", signature]
    command += ["--public_key", version[0] / "public.pem"]
    assert subprocess.run(command, env=dict(os.environ), capture_output=True).returncode == 0


def test_a_version_signed_by_somebody_else_is_refused_in_one_line(autocast, version, workplace, tmp_path):
    _, other = key_files(tmp_path)
    ended = autocast("verify", MODEL, "--key", other, "--json")
    assert ended.code == 3
    assert "attestation is not signed with the key" in ended.errors[0]


def test_a_version_without_a_proof_is_refused_in_one_line(autocast, version, workplace):
    mlp("plain.onnx")
    convert("plain.onnx", calibration=batches(Path("c.npz")).name, name="unsigned")
    ended = autocast("verify", "models:/unsigned/1", "--key", version[0] / "public.pem")
    assert ended.code == 3
    assert "models:/unsigned/1 carries no proof" in ended.errors[0]
    assert autocast("sign", "models:/unsigned/1", "--key", version[0] / "private.pem").code == 0
    assert autocast("verify", "models:/unsigned/1", "--key", version[0] / "public.pem").code == 0


def test_the_proof_of_another_version_is_refused(autocast, version, workplace):
    mlp("third.onnx", seed=3)
    result = convert("third.onnx", calibration=batches(Path("c.npz")).name, name="borrowed")
    client().log_artifacts(result.run_id, str(artifacts_folder(version[1].run_id) / "proof"), "proof")
    ended = autocast("verify", "models:/borrowed/1", "--key", version[0] / "public.pem")
    assert ended.code == 3
    assert "is not what was attested" in ended.errors[0]


@pytest.mark.parametrize("key", ["none.pem", "c.npz"])
def test_a_key_that_cannot_be_read_is_bad_input(autocast, version, workplace, key):
    for command in ("sign", "verify"):
        assert autocast(command, MODEL, "--key", version[0] / key).code == 2


def test_a_service_that_trusts_a_key_promotes_only_what_it_signed(autocast, version, workplace, tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOCAST_TRUSTED_KEY", str(key_files(tmp_path)[1]))
    refused = autocast("promote", MODEL, "--alias", "champion")
    assert (refused.code, len(refused.errors)) == (3, 1)
    assert "champion" not in client().get_registered_model("signed").aliases
    monkeypatch.setenv("AUTOCAST_TRUSTED_KEY", str(version[0] / "public.pem"))
    assert autocast("promote", MODEL, "--alias", "champion").code == 0


def test_an_approval_by_tag_needs_the_signature_as_well_and_does_not_break_it(
    autocast, version, workplace, tmp_path, monkeypatch
):
    from flows.local.home import home
    from flows.review.approval import answer_approval

    monkeypatch.setenv("AUTOCAST_APPROVAL_ALIASES", "champion")
    answers = []
    for key in (key_files(tmp_path)[1], version[0] / "public.pem"):
        monkeypatch.setenv("AUTOCAST_TRUSTED_KEY", str(key))
        client().set_model_version_tag("signed", "1", "autocast.approve", "champion")
        answers.append(answer_approval(MODEL, home()).approved)
    assert answers == [False, True]
    assert autocast("verify", MODEL, "--key", version[0] / "public.pem").code == 0


def test_a_worker_whose_key_cannot_be_read_converts_nothing(workplace, services, monkeypatch):
    monkeypatch.setenv("AUTOCAST_SIGNING_KEY", str(batches(Path("no-key.npz"))))
    mlp("never.onnx")
    with pytest.raises(ConfigError, match=r"no-key\.npz: holds no private key"):
        convert("never.onnx", name="never")
    assert registered("never") == []


@pytest.fixture
def sample(nightly):
    """`sample(count, most)`: which of `count` things are changed one after another; all of them with --nightly."""
    return lambda count, most: range(count) if nightly else np.linspace(0, count - 1, most).astype(int)


def test_each_byte_of_each_registered_file_counts(version, proof_differences, sample):
    for path in sorted(path for path in registered_folder("signed", "1").rglob("*") if path.is_file()):
        content = path.read_bytes()
        for at in sample(len(content), 2 if path.suffix == ".onnx" else 1):
            path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            found = proof_differences()
            path.write_bytes(content)
            assert found == [f"file {path.relative_to(registered_folder('signed', '1')).as_posix()}"]
    assert proof_differences() == []


def test_each_artifact_of_the_run_counts(version, proof_differences, sample):
    folder = artifacts_folder(version[1].run_id)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in [paths[at] for at in sample(len(paths), 8)]:
        content, name = path.read_bytes(), path.relative_to(folder).as_posix()
        path.write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
        found = proof_differences()
        path.write_bytes(content)
        if not name.startswith("proof/"):
            assert found == [f"artifact {name}"]
        else:
            assert found
    assert proof_differences() == []


def test_each_metric_counts(version, proof_differences, sample):
    run = version[1].run_id
    metrics = client().get_run(run).data.metrics
    for name in [sorted(metrics)[at] for at in sample(len(metrics), 3)]:
        client().log_metric(run, name, float(np.nextafter(metrics[name], np.inf)), step=1)
        found = proof_differences()
        client().log_metric(run, name, metrics[name], step=2)
        assert found == [f"metrics {name}"]
    assert proof_differences() == []


def test_each_parameter_counts(version, proof_differences, sample):
    """MLflow changes none; its database does."""
    run, database = version[1].run_id, sqlite_file(os.environ["MLFLOW_TRACKING_URI"])
    params = client().get_run(run).data.params

    def set_param(name, value):
        with closing(sqlite3.connect(database)) as store, store:
            changed = store.execute("update params set value = ? where run_uuid = ? and key = ?", (value, run, name))
            assert changed.rowcount == 1

    for name in [sorted(params)[at] for at in sample(len(params), 2)]:
        set_param(name, "forged")
        found = proof_differences()
        set_param(name, params[name])
        assert found == [f"parameters {name}"]
    assert proof_differences() == []


def test_each_tag_of_ours_counts(version, proof_differences, sample):
    run = version[1].run_id
    of_run = {key: value for key, value in client().get_run(run).data.tags.items() if key.startswith("autocast.")}
    tags = client().get_model_version("signed", "1").tags
    # A review comes after the signature.
    of_version = {key: value for key, value in tags.items() if not is_review_tag(key)}
    for name in [sorted(of_run)[at] for at in sample(len(of_run), 2)]:
        client().set_tag(run, name, "forged")
        found = proof_differences()
        client().set_tag(run, name, of_run[name])
        assert found == [f"run tags {name}"]
    for name in [sorted(of_version)[at] for at in sample(len(of_version), 2)]:
        client().set_model_version_tag("signed", "1", name, "forged")
        found = proof_differences()
        client().set_model_version_tag("signed", "1", name, of_version[name])
        assert found == [f"version tags {name}"]
    assert proof_differences() == []


def test_a_version_whose_signing_failed_is_not_handed_back_and_the_next_run_signs_its_own(
    autocast, version, workplace, monkeypatch
):
    """A full disk, say, ends the run between registering and signing."""
    from autocast_core.errors import OutputError

    monkeypatch.setenv("AUTOCAST_SIGNING_KEY", str(version[0] / "private.pem"))
    given = {"calibration": batches(Path("c.npz")).name, "name": "interrupted"}
    mlp("interrupted.onnx", seed=5)
    with monkeypatch.context() as patch:
        patch.setattr("flows.proof.proof.upload_artifacts", _full)
        with pytest.raises(OutputError, match=r"a temporary file: the disk is full \(No space left on device\)"):
            convert("interrupted.onnx", **given)
    again = convert("interrupted.onnx", **given)
    assert again.registered == "models:/interrupted/2"
    assert autocast("verify", again.registered, "--key", version[0] / "public.pem").code == 0
    assert convert("interrupted.onnx", **given).registered == again.registered


def _full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_service_neither_hands_back_nor_signs_a_version_that_somebody_else_registered(
    autocast, version, workplace, monkeypatch
):
    """With the identity and the name of the next conversion, the files of another model, and a result beside them."""
    given = {"calibration": batches(Path("c.npz")).name, "name": "planted"}
    planted = convert(mlp("other.onnx", seed=6), **given)
    tags = client().get_model_version("planted", "1").tags
    expected = convert(mlp("wanted.onnx", seed=7), **{**given, "name": "elsewhere"})
    identity = client().get_model_version("elsewhere", "1").tags["autocast.identity"]
    assert tags["autocast.identity"] != identity
    client().set_model_version_tag("planted", "1", "autocast.identity", identity)
    monkeypatch.setenv("AUTOCAST_SIGNING_KEY", str(version[0] / "private.pem"))
    made = convert("wanted.onnx", **given)
    assert (made.registered, made.output_sha256) == ("models:/planted/2", expected.output_sha256)
    assert autocast("verify", "models:/planted/2", "--key", version[0] / "public.pem").code == 0
    assert autocast("verify", planted.registered, "--key", version[0] / "public.pem").code == 3
