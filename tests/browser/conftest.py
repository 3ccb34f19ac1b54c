"""A real MLflow server with real runs, and Debian's Chromium to look at it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flows.local.embedded_server import free_port
from tests.waiting import answers

SCRIPTS = Path(sys.executable).parent
CHROMIUM = ("chromium", "chromium-browser")
# Without them Chromium asks its maker's hosts, in vain on a machine without network.
QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run")


@dataclass
class Page:
    """A browser page, and what it complained about."""

    page: Any
    screenshots: Path
    errors: list[str] = field(default_factory=list)

    def show(self, name: str) -> None:
        """Keeps a screenshot."""
        self.page.screenshot(path=str(self.screenshots / f"{name}.png"), full_page=True)


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory):
    """AUTOCAST_SCREENSHOTS, which CI keeps, else a folder of the test's own."""
    folder = Path(os.environ.get("AUTOCAST_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def browser():
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if program is None:
        pytest.skip("no browser to test with: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader", *QUIET]
        )
        yield launched
        launched.close()


@pytest.fixture(params=["light"])
def window(request, browser, screenshots):
    """A page 1,400 pixels wide, in the colour scheme of the parameter."""
    context = browser.new_context(color_scheme=request.param, viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(60_000)
    made = Page(context.new_page(), screenshots)
    made.page.on("console", lambda message: made.errors.append(message.text) if _is_error(message) else None)
    made.page.on("pageerror", lambda error: made.errors.append(str(error)))
    yield made
    context.close()


def _is_error(message: Any) -> bool:
    """MLflow's UI asks a server without log-in for the current user, and is told that there is none: not our error."""
    return message.type == "error" and not message.location.get("url", "").endswith("/mlflow/users/current")


@pytest.fixture
def opened(window, tmp_path):
    """`opened(text)`: the page with this HTML, from disk."""

    def show(text):
        (tmp_path / "page.html").write_text(text, encoding="utf-8")
        window.page.goto((tmp_path / "page.html").as_uri())
        return window.page

    return show


def serious_problems(page: Any) -> list[tuple[str, str]]:
    """What axe finds that is serious or critical: the rule, and the first element that breaks it."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [(each["id"], each["nodes"][0]["html"][:200]) for each in found if each["impact"] in ("serious", "critical")]


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory):
    """The address of an MLflow server of its own."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "PREFECT_", "AUTOCAST_"))}
    off = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}
    words = ["server", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--workers", "1"]
    words += ["--artifacts-destination", str(folder / "artifacts"), "--host", "127.0.0.1", "--port", str(port)]
    log = folder / "server.log"
    with log.open("wb") as stream:
        server = subprocess.Popen(
            [str(SCRIPTS / "mlflow"), *words],
            cwd=folder,
            env={**clean, **off},
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        assert answers(f"{address}/health"), log.read_text()
        yield address
    finally:
        # It has children that outlive it.
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.fixture(scope="session")
def demo(mlflow_server, tmp_path_factory):
    """The run of `autocast demo` on that server, as MLflow gives it."""
    folder = tmp_path_factory.mktemp("demo")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "PREFECT_", "AUTOCAST_"))}
    done = subprocess.run(
        [str(SCRIPTS / "autocast"), "demo", "--json"],
        cwd=folder,
        env={**clean, "MLFLOW_TRACKING_URI": mlflow_server},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    from mlflow import MlflowClient

    return MlflowClient(mlflow_server).get_run(json.loads(done.stdout)["run_id"])
