"""The doctor names each misconfiguration that is planted, and what fixes it."""

import json
import os
import re
import shutil
from collections import namedtuple
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from autocast_core.process.file_lock import lock
from flows.cli.this_machine.doctor import examined_here
from flows.doctor import checks
from flows.doctor.check_result import CheckState
from flows.doctor.checks.accelerators import tensorrt
from flows.local.embedded_server import ALIVE
from flows.local.server_process import NOTE
from tasks.settings import RESULT_BLOCK, RESULT_BLOCK_VARIABLE
from tests.flows.doctor.conftest import MLFLOW, PASSWORD, PREFECT
from tests.flows.proof.key_files import key_files

PLANTED = {}
"""By what is wrong: what plants it, and name, finding and remedy of the result, the last two as patterns."""


def planted(name, what, remedy):
    def register(plant):
        PLANTED[plant.__name__] = (plant, name, what, remedy)
        return plant

    return register


@dataclass
class Soil:
    """What a mistake can be planted in."""

    folder: Path
    stub: Any
    closed: str
    request: Any
    monkeypatch: Any
    kept: list[Any] = field(default_factory=list)


@pytest.fixture
def soil(machine, stub, closed_port, request, monkeypatch):
    found = Soil(machine, stub, closed_port, request, monkeypatch)
    yield found
    for each in found.kept:
        each.close()


@planted("settings", "AUTOCAST_WEBHOOK_SECRT is not a setting", "rename it to AUTOCAST_WEBHOOK_SECRET,")
def a_misspelt_variable(soil):
    os.environ["AUTOCAST_WEBHOOK_SECRT"] = PASSWORD


@planted("settings", "AUTOCAST_ISOLATION_SECONDS is 'ten'", "give a positive number")
def a_number_in_words(soil):
    os.environ["AUTOCAST_ISOLATION_SECONDS"] = "ten"


@planted("settings", "AUTOCAST_TAG_LOCATIONS: 's3://models' is not a prefix", "write s3://BUCKET/")
def a_location_without_its_end(soil):
    os.environ |= {"AUTOCAST_TAG_LOCATIONS": "s3://models", "AWS_ENDPOINT_URL_S3": soil.closed}


@planted("settings", "AUTOCAST_PLUGIN_FOLDERS: there is no folder /nowhere", "make it, or take it out")
def a_plugin_folder_that_is_not_there(soil):
    os.environ["AUTOCAST_PLUGIN_FOLDERS"] = "/nowhere"


@planted("home folder", "home cannot be made|home cannot be written|home/cache", "set AUTOCAST_HOME")
def a_file_for_a_home(soil):
    (soil.folder / "home").write_text("no folder")


@planted("home folder", "home/cache: is a link, which is not followed", "remove it, or set AUTOCAST_HOME")
def a_link_in_the_home(soil):
    (soil.folder / "home").mkdir()
    (soil.folder / "home" / "cache").symlink_to(soil.folder)


@planted("disk", r"0\.5 GiB free at", "make room, or set AUTOCAST_HOME to a folder with room")
def a_full_disk(soil):
    usage = namedtuple("usage", "total used free")
    soil.monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1 << 40, 1 << 40, 1 << 29))


@planted("embedded server", "process 1 does not answer on port", "end it with autocast stop")
def an_embedded_server_that_hangs(soil):
    own = soil.folder / "home" / "prefect" / "server" / "0123"
    own.mkdir(parents=True)
    soil.kept.append((own / ALIVE).open("wb"))
    lock(soil.kept[-1])
    port = soil.closed.rpartition(":")[2]
    (own / NOTE).write_text(json.dumps({"process": 1, "port": port, "password": PASSWORD}))


@planted("Prefect", "does not answer", "check PREFECT_API_URL, and that the server runs")
def a_prefect_server_that_is_down(soil):
    os.environ["PREFECT_API_URL"] = f"{soil.closed}/api"


@planted("Prefect", "PREFECT_API_URL is not an http", "write it as http://HOST:4200/api")
def an_address_without_its_scheme(soil):
    os.environ["PREFECT_API_URL"] = "localhost:4200/api"


@planted("Prefect", "answers 404, and not as Prefect's API does", "it ends in /api")
def the_address_of_prefects_pages(soil):
    os.environ["PREFECT_API_URL"] = soil.stub(PREFECT)


@planted("Prefect", r"rejects the credentials \(401\)", "check PREFECT_API_AUTH_STRING, USER:PASSWORD")
def a_wrong_password_for_prefect(soil):
    os.environ |= {
        "PREFECT_API_URL": f"{soil.stub(PREFECT, 'another')}/api",
        "PREFECT_API_AUTH_STRING": f"user:{PASSWORD}",
    }


@planted("Prefect", r"has version 2\.20\.1, which does not fit", r"upgrade the server to 3\.")
def a_prefect_server_of_another_major_version(soil):
    os.environ["PREFECT_API_URL"] = f"{soil.stub({'/api/admin/version': (200, '2.20.1')})}/api"


@planted("GPU pool", "the Prefect server has no deployment a/b", "run prefect deploy with infra/prefect.yaml")
def a_gpu_deployment_that_is_not_there(soil):
    os.environ |= {"PREFECT_API_URL": f"{soil.stub(PREFECT)}/api", "AUTOCAST_GPU_DEPLOYMENT": "a/b"}
    os.environ["AUTOCAST_STAGING"] = str(soil.folder)


@planted("GPU pool", "AUTOCAST_STAGING is not set", "set AUTOCAST_STAGING to an s3:// prefix")
def a_gpu_pool_without_a_place_for_models(soil):
    os.environ |= {"PREFECT_API_URL": f"{soil.stub(PREFECT)}/api", "AUTOCAST_GPU_DEPLOYMENT": "a/b"}


@planted("MLflow", "does not answer", "check MLFLOW_TRACKING_URI, and that the server runs")
def a_tracking_server_that_is_down(soil):
    os.environ["MLFLOW_TRACKING_URI"] = f"http://user:{PASSWORD}@{soil.closed.removeprefix('http://')}"


@planted("MLflow", r"rejects the credentials \(401\)", "check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD")
def a_wrong_password_for_mlflow(soil):
    os.environ |= {"MLFLOW_TRACKING_USERNAME": "user", "MLFLOW_TRACKING_PASSWORD": PASSWORD}
    os.environ["MLFLOW_TRACKING_URI"] = soil.stub(MLFLOW, "another")


@planted("MLflow", r"has version 1\.30\.0, too old for", "upgrade the server to 3")
def a_tracking_server_that_is_too_old(soil):
    os.environ["MLFLOW_TRACKING_URI"] = soil.stub({**MLFLOW, "/version": (200, b"1.30.0")})


@planted("MLflow", "is no database of MLflow's", "restore it from a backup")
def a_database_that_is_none(soil):
    (soil.folder / "mlflow.db").write_bytes(b"not a database" * 100)
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{soil.folder / 'mlflow.db'}"


@planted("artifact store", "MLflow answers 500 for its artifacts", "check --serve-artifacts, --artifacts-destination")
def an_artifact_store_that_the_server_cannot_reach(soil):
    os.environ["MLFLOW_TRACKING_URI"] = soil.stub({**MLFLOW, "/api/2.0/mlflow-artifacts/artifacts": (500, {})})


@planted("artifact store", "/mlruns/1 is a folder of the server's", "start the server with --serve-artifacts")
def artifacts_in_a_folder_of_the_server(soil):
    path = "/api/2.0/mlflow/experiments/get-by-name"
    answer = {"experiment": {"artifact_location": "/mlruns/1"}}
    os.environ["MLFLOW_TRACKING_URI"] = soil.stub({**MLFLOW, path: (200, answer)})


@planted("S3", "there is no such bucket|the bucket does not exist", "check its name and AWS_ENDPOINT_URL_S3")
def a_bucket_that_is_not_there(soil):
    soil.request.getfixturevalue("client")
    return ["nowhere"]


@planted("S3", "credentials are missing", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")
def no_credentials_for_s3(soil):
    soil.request.getfixturevalue("no_aws")
    os.environ["AWS_ENDPOINT_URL_S3"] = soil.request.getfixturevalue("s3_endpoint")
    return ["s3://models/resnet/"]


@planted("S3", "the server does not answer", "check AWS_ENDPOINT_URL_S3 and the network")
def an_s3_server_that_is_down(soil):
    soil.request.getfixturevalue("client")
    os.environ |= {"AWS_ENDPOINT_URL_S3": soil.closed, "AUTOCAST_TAG_LOCATIONS": "s3://models/ s3://data/"}


def shared_results(soil, location=None):
    """Variables with which results are shared, by a Prefect server that knows the place if there is one."""
    block = {"/api/block_types/slug/autocast-s3-results/block_documents/name/autocast": (200, {"data": location})}
    os.environ["PREFECT_API_URL"] = f"{soil.stub(PREFECT if location is None else {**PREFECT, **block})}/api"
    os.environ |= {RESULT_BLOCK_VARIABLE: RESULT_BLOCK, "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json"}


@planted("result storage", "no block autocast-s3-results/autocast", "autocast results s3://BUCKET/PREFIX/")
def a_result_storage_that_prefect_does_not_know(soil):
    shared_results(soil)


@planted("result storage", "the bucket does not exist|there is no such bucket", "check its name")
def a_result_storage_without_its_bucket(soil):
    soil.request.getfixturevalue("client")
    shared_results(soil, {"location": "s3://nowhere/results/"})


@planted("result storage", "results are pickled", "set PREFECT_RESULTS_DEFAULT_SERIALIZER=json")
def a_shared_result_storage_with_pickles(soil):
    shared_results(soil)
    del os.environ["PREFECT_RESULTS_DEFAULT_SERIALIZER"]


@planted("result storage", "AUTOCAST_RESULT_STORAGE is set, and runs do not use it", "set PREFECT_RESULTS_DEFAULT_")
def a_result_storage_that_workers_are_not_told(soil):
    os.environ["AUTOCAST_RESULT_STORAGE"] = "s3://models/results/"


@planted("webhook", "AUTOCAST_WEBHOOK_SECRET must be set to a secret of at least 16", "openssl rand -hex 24")
def a_short_secret(soil):
    os.environ["AUTOCAST_WEBHOOK_SECRET"] = PASSWORD[:15]


@planted("webhook", "AUTOCAST_BRIDGE_URL is not an address that ends in /mlflow", "write http://BRIDGE:PORT/mlflow")
def half_the_address_of_the_bridge(soil):
    os.environ |= {"AUTOCAST_WEBHOOK_SECRET": PASSWORD, "AUTOCAST_BRIDGE_URL": "http://bridge:8080"}


def webhook_of_mlflow(soil, webhooks, result=None):
    """A tracking server with these webhooks, whose test delivery comes to `result`."""
    answers = {
        "/api/2.0/mlflow/webhooks": (200, webhooks),
        "/api/2.0/mlflow/webhooks/1/test": (200, {"result": result}),
    }
    os.environ |= {"MLFLOW_TRACKING_URI": soil.stub({**MLFLOW, **answers}), "AUTOCAST_WEBHOOK_SECRET": PASSWORD}


OURS = {"webhooks": [{"webhook_id": "1", "name": "autocast-bridge", "url": "http://bridge/mlflow"}]}


@planted("webhook", "MLflow has no webhook autocast-bridge", "run autocast bridge register")
def a_webhook_that_was_never_registered(soil):
    webhook_of_mlflow(soil, {})


@planted(
    "webhook", "rejects MLflow's test delivery: the secrets of the two differ", "run autocast bridge register with"
)
def a_secret_that_mlflow_does_not_have(soil):
    webhook_of_mlflow(soil, OURS, {"success": False, "response_status": 401})


@planted("webhook", r"test delivery to http://bridge/mlflow fails \(no such host\)", "check AUTOCAST_BRIDGE_URL")
def a_bridge_that_mlflow_cannot_reach(soil):
    webhook_of_mlflow(soil, OURS, {"success": False, "error_message": "no such host"})


@planted(
    "signing", "AUTOCAST_TRUSTED_KEY does not belong to AUTOCAST_SIGNING_KEY", "set AUTOCAST_TRUSTED_KEY to the public"
)
def keys_of_two_pairs(soil):
    for name in ("one", "other"):
        (soil.folder / name).mkdir()
    os.environ["AUTOCAST_SIGNING_KEY"] = str(key_files(soil.folder / "one")[0])
    os.environ["AUTOCAST_TRUSTED_KEY"] = str(key_files(soil.folder / "other")[1])


@planted("signing", "the key is encrypted", "AUTOCAST_SIGNING_PASSWORD where it is encrypted")
def a_key_without_its_password(soil):
    os.environ["AUTOCAST_SIGNING_KEY"] = str(key_files(soil.folder, password=PASSWORD.encode())[0])


@planted("signing", "the key cannot be read", "set AUTOCAST_TRUSTED_KEY to the public key")
def a_trusted_key_that_is_not_there(soil):
    os.environ["AUTOCAST_TRUSTED_KEY"] = str(soil.folder / "public.pem")


def distribution(folder, name, version):
    """An installed distribution, as far as its version goes."""
    information = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@planted("packages", r"typer 0\.1\.0 is installed, .*>=0\.16", r"pip install 'typer<1,>=0\.16'")
def a_package_that_is_too_old(soil):
    distribution(soil.folder, "typer", "0.1.0")
    soil.monkeypatch.syspath_prepend(soil.folder)


@planted("packages", "onnxruntime and onnxruntime-gpu are both installed", "uninstall both")
def two_packages_of_one_module(soil):
    distribution(soil.folder, "onnxruntime-gpu", "1.30.0")
    soil.monkeypatch.syspath_prepend(soil.folder)


@planted("TensorRT", r"tensorrt cannot be imported \(ImportError: libnvinfer", "pip install --force-reinstall tensorrt")
def a_tensorrt_without_its_libraries(soil):
    (soil.folder / "tensorrt.py").write_text('raise ImportError("libnvinfer.so.10: cannot open shared object file")')
    soil.monkeypatch.syspath_prepend(soil.folder)


@pytest.mark.parametrize("mistake", PLANTED)
def test_each_mistake_is_named_with_its_remedy(mistake, soil, monkeypatch):
    plant, name, what, remedy = PLANTED[mistake]
    buckets = plant(soil)
    if name != "TensorRT":
        # Importing it takes a process, each time.
        monkeypatch.setattr(
            checks, "HEALTH_CHECKS", tuple(each for each in checks.HEALTH_CHECKS if each is not tensorrt)
        )
    results = examined_here(tuple(buckets or ()))
    problems = [each for each in results if each.state is CheckState.PROBLEM]
    matching = [each for each in problems if each.name == name and re.search(what, each.what)]
    assert len(matching) == 1, problems
    assert re.search(remedy, str(matching[0].remedy)), matching
    assert not [each for each in results if PASSWORD in f"{each.what} {each.remedy}"]


def test_there_are_at_least_twelve():
    assert len(PLANTED) >= 12
