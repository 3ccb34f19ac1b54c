"""A worker fetches the pinned model and its own files of the data, and no others."""

import numpy as np
import pytest

from autocast_core.config import ConversionConfig
from autocast_core.pipeline.saved import JobRequest, perform
from tasks.shards.calibration import calibrate_shard, calibrate_sharded, cut, layout_of
from tasks.shards.runner import LocalRunner
from tasks.shards.shard_inputs import ShardInputs
from tasks.storage.data import fetch_data
from tasks.storage.models import fetch_model
from tests.flows.conversions import mlp
from tests.tasks.storage.conftest import bucket, client, no_aws, s3_endpoint  # noqa: F401 - used as fixtures

FILES, A_FILE = 8, 12


@pytest.fixture
def uploaded(client, bucket, tmp_path, monkeypatch):  # noqa: F811
    """The locations of a model and of a prefix of data, and an empty cache."""
    monkeypatch.setenv("AUTOCAST_CACHE", str(tmp_path / "cache"))
    client.upload_file(str(mlp(tmp_path / "m.onnx")), bucket, "models/m.onnx")
    rng = np.random.default_rng(2)
    for number in range(FILES):
        path = tmp_path / f"{number}.npz"
        np.savez(path, x=rng.normal(size=(A_FILE, 8)).astype("f4"))
        client.upload_file(str(path), bucket, f"data/{number}.npz")
    return f"s3://{bucket}/models/m.onnx", f"s3://{bucket}/data/"


def test_a_shard_fetches_only_its_own_files_and_all_shards_come_to_the_stages_statistics(
    uploaded, tmp_path, monkeypatch
):
    model, data = uploaded
    source, fetched, config = fetch_model(model), fetch_data(data), ConversionConfig()
    request = JobRequest(source.ref, config, tmp_path / "work", calibration=fetched.path)
    sanitized = perform("sanitize", request, (source.ref,))
    expected = perform("calibrate", request, (sanitized,)).path.read_bytes()
    inputs = ShardInputs(source.uri_pinned, source.ref.digest, data, fetched.digest, config)
    shards = cut(inputs, layout_of(request, sanitized), 2)
    assert [shard.span.files for shard in shards] == [
        ("0.npz", "1.npz", "2.npz"),
        ("2.npz", "3.npz", "4.npz", "5.npz"),
        ("5.npz", "6.npz", "7.npz"),
    ]
    monkeypatch.setenv("AUTOCAST_CACHE", str(tmp_path / "of a worker"))
    assert set(calibrate_shard(shards[0], 1).digests) == {"0.npz", "1.npz", "2.npz"}
    held = {path.name for path in (tmp_path / "of a worker" / "data").rglob("*.npz")}
    assert held == {"0.npz", "1.npz", "2.npz"}
    made = calibrate_sharded(request, sanitized, inputs, LocalRunner())
    assert made.path.read_bytes() == expected
