"""What is published and registered is byte for byte what was verified."""

from hashlib import sha256
from pathlib import Path

import pytest

from autocast_core.errors import VerificationError
from tests.flows.conversions import client, convert, mlp, registered, runs_of

pytestmark = pytest.mark.xdist_group("prefect")


def tampering(monkeypatch, attribute):
    """The model in the work folder gets another byte when `attribute` of the flow is called."""
    import flows.convert_model as flow

    original = getattr(flow, attribute)

    def tamper(*arguments, **options):
        for path in Path(".autocast", "work").glob("*/output/*.onnx"):
            path.write_bytes(path.read_bytes() + b"\n\x00")
        return original(*arguments, **options)

    monkeypatch.setattr(flow, attribute, tamper)


@pytest.mark.parametrize("attribute", ["log_model_task", "publish_task"])
def test_a_model_that_changes_after_it_was_verified_goes_nowhere(workplace, monkeypatch, attribute):
    model = mlp(workplace / f"{attribute}.onnx")
    tampering(monkeypatch, attribute)
    with pytest.raises(VerificationError, match="changed after the model was verified"):
        convert(model, output=workplace / "out", allow_random=True, validation="off")
    assert not (workplace / "out" / "model.onnx").exists()
    assert registered(f"{attribute}-fp16") == []
    assert runs_of(model)[0].info.status == "FAILED"


def test_what_is_registered_is_what_was_published(workplace):
    result = convert(mlp(workplace / "same.onnx"), output=workplace / "out", allow_random=True, validation="off")
    (version,) = registered("same-fp16")
    import mlflow

    folder = mlflow.artifacts.download_artifacts(artifact_uri=version.source, tracking_uri=client().tracking_uri)
    digests = {sha256(path.read_bytes()).hexdigest() for path in (Path(folder) / "model.onnx", Path(result.output))}
    assert digests == {result.output_sha256} == {version.tags["autocast.output_sha256"]}
