"""A full disk at each place where files are written: told in one line, nothing half-written, and the next run succeeds.

By day at some of the places, with --nightly at all: those that a first run is seen to write at.
"""

import tempfile
from pathlib import Path

import numpy as np
import pytest

from autocast_core.errors import AutocastError, OutputError, ServiceError
from tests.faults.conftest import QUICK
from tests.faults.full_disk import opened_to_write
from tests.faults.test_kills import check_published, check_registered
from tests.flows.conversions import batches, convert, mlp, registered, runs_of, working_in
from tests.flows.proof.key_files import key_files

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults-servers"), pytest.mark.timeout(5000)]
SAMPLE = ("log_artifacts report.html", "sign_version model.sig")
SPARSE = "hollow weights"
"""A file of holes, which takes no room: setting its length fails on /dev/full alone."""


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Where this test's temporary files are."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def at_each_site(nightly, scratch, trial):
    """`at_each_site(what, act, sample, check)`: `act(number)` again and again, the disk full at another site each time;
    `check(number)` once it was told. Then `act(number)` again must succeed."""

    def run(what, act, sample, check):
        if nightly:
            with opened_to_write(lambda _: False) as seen:
                act(0)
            sites = [name for name in dict.fromkeys(seen) if SPARSE not in name]
        else:
            sites = list(sample)
        for number, wanted in enumerate(sites, start=1):
            hit = []

            def at(name, wanted=wanted, hit=hit):
                if hit or wanted not in name:
                    return False
                hit.append(name)
                return True

            outcome = "goes on without"
            try:
                with opened_to_write(at):
                    act(number)
            except AutocastError as error:
                assert isinstance(error, OutputError | ServiceError), repr(error)
                assert "\n" not in str(error)
                outcome = str(error).replace(str(scratch.parent), "")
                check(number)
            assert hit, f"nothing is written at {wanted}"
            assert list(scratch.iterdir()) == []
            if outcome != "goes on without":
                act(number)
            trial(f"full disk, {what}: {hit[0].rpartition('/')[2]}", 1, outcome)

    return run


def test_a_conversion_that_meets_a_full_disk(workplace, named, monkeypatch, at_each_site):
    """It signs too: what follows registering is part of the conversion."""
    monkeypatch.setenv("AUTOCAST_SIGNING_KEY", str(key_files(workplace)[0]))
    data = batches(workplace / "data.npz")
    models = [mlp(workplace / f"{named(f'disk{number}')}.onnx", number) for number in range(100)]

    def act(number):
        convert(models[number], calibration=data, output=workplace / f"out{number}", validation="off")
        assert check_published(workplace / f"out{number}") == ["model.onnx", "plan.json"]
        assert check_registered(f"{models[number].stem}-fp16")

    def check(number):
        left = check_published(workplace / f"out{number}")
        assert not left or check_registered(f"{models[number].stem}-fp16")
        assert "RUNNING" not in [each.info.status for each in runs_of(models[number])]

    at_each_site("convert", act, SAMPLE, check)


@pytest.fixture(scope="module")
def version(services, tmp_path_factory):
    """A registered conversion."""
    folder = tmp_path_factory.mktemp("full")
    with working_in(folder):
        mlp(folder / "net.onnx", 40)
        yield convert("net.onnx", calibration=batches(folder / "c.npz").name, name="full").registered


@pytest.mark.parametrize("form", ["folder", "triton", "oci"])
def test_an_export_that_meets_a_full_disk(workplace, used, version, at_each_site, form, nightly):
    from flows.export.release import ExportForm, export_version

    if form != "triton" and not nightly:
        pytest.skip("with --nightly")

    def act(number):
        export_version(version, ExportForm(form), workplace / "exports" / str(number))

    def check(number):
        assert [path.name for path in (workplace / "exports").iterdir() if path.name == str(number)] == []
        assert not list((workplace / "exports").glob(".*"))

    at_each_site(f"export as {form}", act, ("thread plan.json", "_export bom.cdx.json"), check)


def test_the_converters_own_command_on_a_full_disk(tmp_path, capsys, at_each_site):
    from autocast_core.__main__ import command

    data = batches(tmp_path / "data.npz")
    model = mlp(tmp_path / "m.onnx")

    def act(number):
        out = tmp_path / f"out{number}.onnx"
        given = ("--onnx_path", model, "--output_path", out, "--save_plan", tmp_path / f"plan{number}.json", "-d", data)
        if command([str(each) for each in given]) != 0:
            line = capsys.readouterr().err.splitlines()[-1]
            assert line.startswith("error: ") and "full" in line
            raise OutputError(line)

    def check(number):
        assert not list(tmp_path.glob(".*.part"))
        assert not (tmp_path / f"plan{number}.json").exists()

    at_each_site("command", act, (".outN.onnx",), check)


def test_a_fetch_that_meets_a_full_disk(s3_proxy, bucket, tmp_path, at_each_site):
    from tasks.storage.data import fetch_data
    from tasks.storage.objects.s3 import connect

    content = np.random.default_rng(0).bytes(3 * QUICK.part_bytes)
    for name in ("a.npz", "b.npz"):
        connect(QUICK).put_object(Bucket=bucket, Key=f"d/{name}", Body=content)

    def act(number):
        found = fetch_data(f"s3://{bucket}/d/", tmp_path / f"cache{number}", options=QUICK)
        assert {path.read_bytes() for path in Path(found.path).iterdir()} == {content}

    def check(number):
        whole = list((tmp_path / f"cache{number}" / "data").rglob("*.npz"))
        assert all(path.read_bytes() == content for path in whole)

    at_each_site("fetch", act, ("_transfer",), check)


def test_a_tracking_server_whose_disk_for_artifacts_is_full(
    workplace, mlflow_proxy, named, trial, monkeypatch, nightly
):
    """It answers 500 to what is uploaded, whatever it keeps its files on."""
    if not nightly:
        pytest.skip("with --nightly")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_proxy.url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    name = named("artifacts")
    model, output = mlp(workplace / f"{name}.onnx"), workplace / "out"
    given = {"calibration": batches(workplace / "data.npz"), "output": output, "validation": "off"}
    from tasks.stages.track import log_model_task, track_task

    for task in (log_model_task, track_task):
        monkeypatch.setattr(task, "retries", 0)
    for kept in (0, 3, 9):
        left = [kept]

        def full(number, method, path, left=left):
            left[0] -= method == "PUT" and "/mlflow-artifacts/" in path
            return "internal" if left[0] < 0 and method == "PUT" else None

        mlflow_proxy.fault = full
        with pytest.raises(ServiceError) as caught:
            convert(model, **given)
        assert "\n" not in str(caught.value)
        assert check_published(output) == [] and registered(f"{name}-fp16") == []
    mlflow_proxy.fault = lambda number, method, path: None
    convert(model, **given)
    assert len(check_registered(f"{name}-fp16")) == 1
    trial("full disk, MLflow's artifacts", 3, str(caught.value).replace(mlflow_proxy.url, ""))
