"""One set of servers for each of the two groups of tests in this folder, which run side by side."""

import os
import tempfile
from pathlib import Path

import pytest

from flows.local_stack import stack
from tests.integration.site import DEMO, Site
from tests.settings import forgotten_settings


@pytest.fixture(scope="session")
def site():
    """All servers, a worker, and the demo's model and data in S3: a set of its own, as these tests stop and start them.

    With AUTOCAST_TEST_SERVERS=FOLDER those of `autocast up --storage servers FOLDER` are used and left running.
    """
    lacks = stack.missing()
    if lacks:
        pytest.skip("no servers to test with: " + "; ".join(lacks))
    given = os.environ.get("AUTOCAST_TEST_SERVERS")
    # Not in pytest's own folder: nobody else may enter that, and PostgreSQL runs as a user of its own.
    folder = Path(given or tempfile.mkdtemp(prefix="autocast-servers-")).absolute()
    site = Site(folder, os.urandom(3).hex())
    with forgotten_settings():
        try:
            site.up()
            os.environ |= site.variables
            for name in ("model.onnx", "evaluation.npz"):
                site.upload(DEMO / name, f"digits/{name}")
            yield site
        finally:
            if not given:
                site.remove()
