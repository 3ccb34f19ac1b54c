"""A real HTTP S3 server in this process, and small ONNX models to store in it."""

import uuid
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

from tasks.storage.objects.s3 import S3Options, connect

QUICK = S3Options(attempts=1, connect_timeout=2, read_timeout=5, part_bytes=1 << 16, workers=2, lease_seconds=1)


@pytest.fixture(scope="module")
def s3_endpoint():
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def no_aws(monkeypatch, tmp_path):
    """An environment without any AWS settings of this machine."""
    import os

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def client(s3_endpoint, no_aws, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAPLANTEDKEY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-secret")
    return connect(QUICK)


@pytest.fixture
def bucket(client):
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    return name


@pytest.fixture
def versioned_bucket(client, bucket):
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return bucket


@pytest.fixture
def options():
    return QUICK


@pytest.fixture
def write_model():
    """Writes y = x + w with `rows` x 64 random weights, inside or in NAME.data, and returns the path."""

    def write(path: Path, *, rows: int = 64, seed: int = 0, external: bool = False, location: str = "") -> Path:
        model = onnx.parser.parse_model(
            f'<ir_version: 10, opset_import: ["": 21]> g (float[{rows}, 64] x) => (float[{rows}, 64] y)'
            " { y = Add(x, w) }"
        )
        weights = np.random.default_rng(seed).standard_normal((rows, 64)).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(weights, "w"))
        path.parent.mkdir(parents=True, exist_ok=True)
        if external:
            onnx.save_model(model, path, save_as_external_data=True, location=path.name + ".data", size_threshold=0)
        else:
            onnx.save_model(model, path)
        if location:
            refer(path, location)
        return path

    def refer(path: Path, location: str) -> None:
        model = onnx.load_model(path, load_external_data=False)
        for entry in model.graph.initializer[0].external_data:
            if entry.key == "location":
                entry.value = location
        path.write_bytes(model.SerializeToString())

    return write
