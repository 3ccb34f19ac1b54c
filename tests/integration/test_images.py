"""The image, built and run as the compose file and the chart run it, where a container tool and its base image are."""

import re
import shutil
import subprocess

import pytest

from autocast_core.version import VERSION
from tests.infra.test_files import INFRA
from tests.real_servers import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

DOCKERFILE = INFRA / "docker" / "Dockerfile"
IMAGE = "autocast-flow:tested"


def call(*command):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def tool():
    """A program that builds and runs containers here."""
    found = [name for name in ("docker", "podman") if shutil.which(name) and call(name, "info").returncode == 0]
    if not found:
        pytest.skip("no container tool works here: the images are not built")
    base = re.search(r"^FROM (\S+)", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)[1]
    if call(found[0], "pull", base).returncode:
        pytest.skip(f"{base} cannot be pulled: the images are not built")
    return found[0]


def test_the_image_builds_and_its_programs_run_on_a_read_only_file_system(tool):
    built = call(tool, "build", "--file", str(DOCKERFILE), "--tag", IMAGE, ".")
    assert built.returncode == 0, built.stderr
    hardened = (
        "--read-only",
        "--tmpfs",
        "/tmp",
        "--tmpfs",
        "/var/lib/autocast",
        "--cap-drop",
        "ALL",
        "--network",
        "none",
    )
    for words, said in (
        (("autocast", "--version"), VERSION),
        (("prefect", "--version"), "3."),
        (("id", "-u"), "10001"),
    ):
        done = call(tool, "run", "--rm", *hardened, IMAGE, *words)
        assert done.returncode == 0 and said in done.stdout, done.stdout + done.stderr


def test_compose_reads_its_file(tool):
    if call(tool, "compose", "version").returncode:
        pytest.skip(f"{tool} has no compose: the file is only checked against its specification")
    # Every variable that must be set has some value.
    names = re.findall(r"^([A-Z0-9_]+)=", (INFRA / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
    variables = {name: "x" for name in names if name not in ("LISTEN", "AUTOCAST_LOG_FORMAT")}
    done = subprocess.run(
        [tool, "compose", "--file", str(INFRA / "compose.yaml"), "--profile", "prepare", "config", "--quiet"],
        env={"PATH": "/usr/bin:/bin:/usr/local/bin", **variables},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
