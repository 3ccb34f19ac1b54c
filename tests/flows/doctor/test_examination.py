"""The doctor as a whole: a machine on which all is well, checks that hang or break, what is imported."""

import os
import subprocess
import sys
import threading
import time

from autocast_core.process.child import with_package_path
from flows.doctor.check_result import CheckState, Surroundings, well
from flows.doctor.checks.variables import KNOWN
from flows.doctor.examination import examine
from flows.local.home import Home
from tests.flows.doctor.conftest import MLFLOW, PASSWORD, PREFECT
from tests.flows.proof.key_files import key_files
from tests.infra.docs.pages import DOCS


def around(folder):
    return Surroundings({}, Home(folder), folder)


def test_a_machine_that_is_well_has_no_problems(machine, stub, autocast, bucket):
    private, public = key_files(machine)
    private.chmod(0o600)
    os.environ |= {
        "PREFECT_API_URL": f"{stub(PREFECT, PASSWORD)}/api",
        "PREFECT_API_AUTH_STRING": f"user:{PASSWORD}",
        "MLFLOW_TRACKING_URI": stub(MLFLOW, PASSWORD).replace("http://", f"http://user:{PASSWORD}@"),
        "AUTOCAST_WEBHOOK_SECRET": PASSWORD,
        "AUTOCAST_BRIDGE_URL": "http://bridge:8080/mlflow",
        "AUTOCAST_SIGNING_KEY": str(private),
        "AUTOCAST_TRUSTED_KEY": str(public),
        "AUTOCAST_TAG_LOCATIONS": f"s3://{bucket}/models/",
    }
    ended = autocast("doctor", "--json", "--bucket", bucket)
    found = ended.json
    for check in found["checks"]:
        # Of an extra that need not be installed, and of a machine that need not have room.
        assert check["state"] == "ok" or check["name"] in ("signing", "disk", "packages", "TensorRT"), check
    told = {check["name"]: check["what"] for check in found["checks"]}
    assert told["artifact store"] == "mlflow-artifacts:/1, served by MLflow"
    assert "version" in told["Prefect"] and "version" in told["MLflow"]
    assert [check["what"].partition(" at ")[0] for check in found["checks"] if check["name"] == "S3"] == [
        f"s3://{bucket}/",
        f"s3://{bucket}/models/",
    ]
    assert PASSWORD not in ended.out + ended.err and "planted-secret" not in ended.out


def test_without_settings_it_says_in_lines_that_all_is_well(machine, autocast):
    ended = autocast("doctor")
    assert ended.code == 0, ended.out
    assert "ok       Prefect          PREFECT_API_URL is not set" in ended.out
    assert list(machine.iterdir()) == []


def test_the_remedy_stands_below_its_problem(machine, autocast):
    os.environ["AUTOCAST_CACHE_BYTES"] = "many"
    ended = autocast("doctor")
    lines = ended.out.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("problem"))
    assert lines[at].endswith("settings         AUTOCAST_CACHE_BYTES is 'many'")
    assert lines[at + 1].strip() == "fix: give a positive whole number of bytes"
    assert (ended.code, ended.errors) == (3, ["error: 1 problem to fix"])


def test_a_check_that_hangs_is_left_behind(tmp_path):
    released = threading.Event()

    def slow_server(_):
        released.wait(60)
        return ()

    begun = time.monotonic()
    results = examine(around(tmp_path), [slow_server, lambda _: (well("other", "fine"),)], limit_seconds=0.2)
    assert time.monotonic() - begun < 30
    released.set()
    assert [(each.name, each.state) for each in results] == [
        ("slow server", CheckState.PROBLEM),
        ("other", CheckState.OK),
    ]
    assert results[0].what == "took longer than 0.2 s"


def test_a_check_that_breaks_does_not_take_the_others_with_it(tmp_path):
    def broken(_):
        raise ZeroDivisionError("division by zero")

    results = examine(around(tmp_path), [broken, lambda _: (well("other", "fine"),)])
    assert results[0].what == "could not be checked (ZeroDivisionError: division by zero)"
    assert (results[0].state, results[1].state) == (CheckState.WARNING, CheckState.OK)


def test_neither_prefect_nor_mlflow_is_imported(machine):
    script = (
        "import sys; sys.argv = ['autocast', 'doctor']\n"
        "from flows.cli import main\n"
        "try:\n    main()\nfinally:\n"
        "    print('imported:', sorted({'prefect', 'mlflow', 'boto3'} & set(sys.modules)))"
    )
    child = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=with_package_path(os.environ), check=False
    )
    assert "imported: []" in child.stdout, child.stderr


def test_the_known_variables_are_those_of_the_settings_page():
    page = (DOCS / "settings.md").read_text(encoding="utf-8")
    assert [name for name in sorted(KNOWN) if f"`{name}`" not in page] == []
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `AUTOCAST_")]
    assert {name.strip(" `") for row in rows for name in row.split(",")} == KNOWN
