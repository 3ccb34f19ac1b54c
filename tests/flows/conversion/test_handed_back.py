"""An equal request with another output: no second version, and the model where it is asked for."""

import json
from dataclasses import replace

import pytest

from autocast_core.errors import VerificationError
from autocast_core.file_digest import file_digest
from tests.flows.conversions import batches, convert, mlp, registered, working_in

pytestmark = pytest.mark.xdist_group("prefect")


@pytest.fixture(scope="module")
def made(services, tmp_path_factory):
    """The folder of a conversion to `first`, the request, and its result."""
    folder = tmp_path_factory.mktemp("handed-back")
    with working_in(folder):
        mlp(folder / "elsewhere.onnx", seed=8)
        batches(folder / "data.npz")
        request = {"evaluation": folder / "data.npz", "validation": "off"}
        yield folder, request, convert(folder / "elsewhere.onnx", output=folder / "first", **request)


def test_another_output_folder_gets_the_registered_model_and_makes_no_version(made):
    folder, request, first = made
    second = convert(folder / "elsewhere.onnx", output=folder / "second", **request)
    assert (second.reused, second.registered, second.run_id) == (True, first.registered, first.run_id)
    assert second.output == str(folder / "second" / "model.onnx")
    assert file_digest(folder / "second" / "model.onnx") == first.output_sha256
    plans = [json.loads((folder / name / "plan.json").read_text()) for name in ("first", "second")]
    assert plans[0] == plans[1]
    assert len(registered("elsewhere-fp16")) == 1


def test_an_output_that_was_removed_comes_back_and_without_one_it_is_the_version(made):
    folder, request, first = made
    (folder / "first" / "model.onnx").unlink()
    assert convert(folder / "elsewhere.onnx", output=folder / "first", **request).output == first.output
    assert file_digest(folder / "first" / "model.onnx") == first.output_sha256
    assert convert(folder / "elsewhere.onnx", **request).output == first.registered
    assert len(registered("elsewhere-fp16")) == 1


def test_registered_files_that_were_changed_are_not_handed_out(made, monkeypatch):
    from flows.conversion import handed_back

    folder, request, _ = made
    publish = handed_back.publish_task
    monkeypatch.setattr(handed_back, "publish_task", lambda *given: replace(publish(*given), sha256="0" * 64))
    with pytest.raises(VerificationError, match="they were changed after they were verified; delete this version"):
        convert(folder / "elsewhere.onnx", output=folder / "third", **request)
    assert not (folder / "third" / "model.onnx").exists()
