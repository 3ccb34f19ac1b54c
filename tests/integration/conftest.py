"""One set of servers for all tests of this folder."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.integration.site import DEMO, Site, servers


@pytest.fixture(scope="session")
def site():
    """All servers, a worker, and the demo's model and data in S3.

    With AUTOCAST_TEST_SERVERS=FOLDER those of infra/local/up FOLDER are used and left running.
    """
    lacks = servers.missing()
    if lacks:
        pytest.skip("no servers to test with: " + "; ".join(lacks))
    given = os.environ.get("AUTOCAST_TEST_SERVERS")
    # Not in pytest's own folder: nobody else may enter that, and PostgreSQL runs as a user of its own.
    folder = Path(given or tempfile.mkdtemp(prefix="autocast-servers-")).absolute()
    folder.chmod(0o755)
    site = Site(folder, os.urandom(3).hex())
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("PREFECT_", "MLFLOW_", "AWS_", "AUTOCAST_"))]:
            patch.delenv(name)
        for name, value in servers.environment(folder).items():
            patch.setenv(name, value)
        try:
            site.up()
            for name in ("model.onnx", "evaluation.npz"):
                site.upload(DEMO / name, f"digits/{name}")
            yield site
        finally:
            if not given:
                site.down()
                shutil.rmtree(folder, ignore_errors=True)
