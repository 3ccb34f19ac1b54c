import shutil

import mlflow
import onnx
import pytest

from autocast_core.errors import InputError, ServiceError
from tasks.storage.cache import Cache
from tasks.storage.model_registry import RegisteredVersion, download_version, resolve_tracking_uri
from tasks.storage.models import fetch_model


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """An MLflow store with net (two ONNX versions, the second is champion), notes (no ONNX flavor) and file (one
    version whose source is an ONNX file)."""
    folder = tmp_path_factory.mktemp("registry")
    uri = f"sqlite:///{folder}/mlflow.db"
    client = mlflow.MlflowClient(tracking_uri=uri)
    for name in ("net", "notes", "file"):
        client.create_registered_model(name)
    for version, size in enumerate((64, 32), start=1):
        saved = folder / f"net-{version}"
        model = onnx.parser.parse_model(
            f'<ir_version: 10, opset_import: ["": 21]> g (float[{size}] x) => (float[{size}] y)'
            f" <float[{size}] w> {{ y = Add(x, w) }}"
        )
        model.graph.initializer.append(onnx.helper.make_tensor("w", 1, [size], [1.0] * size))
        mlflow.onnx.save_model(model, saved, pip_requirements=["onnxruntime"])
        client.create_model_version("net", str(saved))
    client.set_registered_model_alias("net", "champion", "2")
    (folder / "notes").mkdir()
    (folder / "notes" / "MLmodel").write_text("flavors:\n  python_function: {loader_module: x}\n")
    client.create_model_version("notes", str(folder / "notes"))
    onnx.save_model(onnx.load_model(folder / "net-1" / "model.onnx"), folder / "resnet.onnx")
    client.create_model_version("file", str(folder / "resnet.onnx"))
    return uri


def width(fetched):
    return onnx.load_model(fetched.ref.path).graph.input[0].type.tensor_type.shape.dim[0].dim_value


def test_a_version_is_fetched_with_its_name(registry, tmp_path):
    fetched = fetch_model("models:/net/1", tmp_path, tracking_uri=registry)
    assert width(fetched) == 64
    assert fetched.registered_name == "net"
    assert fetched.uri_pinned == "models:/net/1"


def test_an_alias_is_pinned_to_its_version(registry, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry)
    fetched = fetch_model("models:/net@champion", tmp_path)
    assert width(fetched) == 32
    assert fetched.uri_pinned == "models:/net/2"


def test_a_version_may_be_a_bare_onnx_file(registry, tmp_path):
    fetched = fetch_model("models:/file/1", tmp_path, tracking_uri=registry)
    assert width(fetched) == 64
    assert (fetched.registered_name, fetched.stem) == ("file", "resnet")


@pytest.mark.parametrize("uri", ["models:/net/9", "models:/net@nobody", "models:/unknown/1"])
def test_a_version_that_does_not_exist_is_an_input_error(registry, tmp_path, uri):
    with pytest.raises(InputError, match=uri):
        fetch_model(uri, tmp_path, tracking_uri=registry)


def test_a_version_without_onnx_flavor_is_an_input_error(registry, tmp_path):
    with pytest.raises(InputError, match="models:/notes/1 has no ONNX flavor"):
        fetch_model("models:/notes/1", tmp_path, tracking_uri=registry)


def test_a_registry_that_was_never_made_is_not_made_by_looking(tmp_path):
    database = tmp_path / "mlflow.db"
    with pytest.raises(InputError, match="MLFLOW_TRACKING_URI"):
        fetch_model("models:/net/1", tmp_path / "cache", tracking_uri=f"sqlite:///{database}")
    assert not database.exists()


def test_a_server_that_does_not_answer_is_a_service_error_without_its_password(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ServiceError, match=r"http://127\.0\.0\.1:9: the server fails") as error:
        fetch_model("models:/net/1", tmp_path, tracking_uri="http://me:planted-secret@127.0.0.1:9")
    assert "planted-secret" not in str(error.value)


def test_the_tracking_uri_is_the_given_one_then_the_environments(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert resolve_tracking_uri() == "sqlite:///.autocast/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    assert resolve_tracking_uri() == "http://server"
    assert resolve_tracking_uri("http://other") == "http://other"


@pytest.fixture
def remote(write_model, tmp_path, monkeypatch):
    """A version whose files MLflow keeps elsewhere; the list counts downloads of the whole."""
    folder, downloads = tmp_path / "remote", []
    write_model(folder / "model.onnx", external=True)
    (folder / "MLmodel").write_text("flavors:\n  onnx: {data: model.onnx}\n")

    def download_artifacts(artifact_uri, dst_path, tracking_uri):
        assert tracking_uri == "http://server"
        name = artifact_uri.removeprefix("mlflow-artifacts:/1/net").strip("/")
        if name:
            return shutil.copy(folder / name, dst_path)
        downloads.append(artifact_uri)
        return shutil.copytree(folder, f"{dst_path}/net")

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", download_artifacts)
    return folder, downloads, RegisteredVersion("net", "1", "mlflow-artifacts:/1/net", 123, "http://server")


def test_remote_files_come_into_the_cache_once(remote, tmp_path):
    folder, downloads, version = remote
    cache = Cache.open(tmp_path / "cache")
    first = download_version(version, cache)
    assert download_version(version, cache) == first
    assert len(downloads) == 1
    assert first.digest == fetch_model(str(folder)).ref.digest
    assert first.path.is_relative_to(cache.root / "models")
    assert list((cache.root / "parts").iterdir()) == []


def test_a_damaged_copy_is_downloaded_again(remote, tmp_path):
    folder, downloads, version = remote
    cache = Cache.open(tmp_path / "cache")
    first = download_version(version, cache)
    (first.path.parent / "model.onnx.data").write_bytes(b"damaged")
    assert download_version(version, cache) == first
    assert len(downloads) == 2
    assert (first.path.parent / "model.onnx.data").read_bytes() == (folder / "model.onnx.data").read_bytes()


def test_what_is_no_onnx_model_is_refused_before_it_is_downloaded(remote, tmp_path):
    folder, downloads, version = remote
    (folder / "MLmodel").write_text("flavors:\n  sklearn: {pickled_model: model.pkl}\n")
    with pytest.raises(InputError, match="models:/net/1 has no ONNX flavor"):
        download_version(version, Cache.open(tmp_path / "cache"))
    assert downloads == []


def test_an_mlmodel_that_names_a_file_outside_is_refused(remote, tmp_path):
    folder, _, version = remote
    (folder / "MLmodel").write_text("flavors:\n  onnx: {data: ../../secret.onnx}\n")
    with pytest.raises(InputError, match="outside its folder"):
        download_version(version, Cache.open(tmp_path / "cache"))


def test_artifacts_in_s3_without_credentials_name_the_variables_to_set(no_aws, tmp_path):
    """MLflow reads them with boto3 of this process, whose errors are not MLflow's."""
    version = RegisteredVersion("net", "1", "s3://bucket/net", 123, "http://server")
    with pytest.raises(InputError, match="AWS_ACCESS_KEY_ID") as error:
        download_version(version, Cache.open(tmp_path / "cache"))
    assert "\n" not in str(error.value)
