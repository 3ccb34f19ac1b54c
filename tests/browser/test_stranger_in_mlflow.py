"""Somebody who was never told anything opens MLflow: how many clicks to the decision, and to an approval."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser with MLflow")]

ANSWER = """
import sys
from flows.local.home import home
from flows.review.approval import answer_approval
print(answer_approval(sys.argv[1], home()))
"""
"""What the deployment promote-version does when the tag's event reaches it; tests/integration tries the way there."""


@dataclass
class Stranger:
    """Clicks on what is to be seen, and counts."""

    page: Any
    clicks: int = 0

    def click(self, target: Any) -> None:
        target.click()
        self.clicks += 1


@pytest.fixture
def answered(mlflow_server, tmp_path):
    """Answers what the tag of a version asks for, as a worker of the service does."""

    def answer(version: str) -> str:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "PREFECT_", "AUTOCAST_"))}
        mine = {
            "MLFLOW_TRACKING_URI": mlflow_server,
            "AUTOCAST_APPROVAL_ALIASES": "champion",
            "AUTOCAST_HOME": str(tmp_path / "home"),
        }
        done = subprocess.run(
            [sys.executable, "-P", "-c", ANSWER, version], env={**clean, **mine}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return answer


@pytest.fixture(scope="module")
def version(mlflow_server, demo):
    """The registered version of the demo's run, as MLflow gives it."""
    from mlflow import MlflowClient

    (found,) = MlflowClient(mlflow_server).search_model_versions(f"run_id = '{demo.info.run_id}'")
    return found


def open_version(window, server, version):
    window.page.goto(f"{server}/#/models/{version.name}/versions/{version.version}?workflowType=machine_learning")
    window.page.get_by_text("Passes all 2 gates.").first.wait_for()


def test_from_the_landing_page_to_an_approval_in_six_clicks(window, mlflow_server, version, answered):
    page, stranger = window.page, Stranger(window.page)
    page.goto(mlflow_server)
    stranger.click(page.get_by_text("Model training", exact=True).first)
    window.show("stranger-1-landing")
    stranger.click(page.get_by_role("link", name="Model registry").first)
    # MLflow greets whoever comes to the registry for the first time.
    greeting = page.get_by_role("dialog")
    greeting.wait_for()
    stranger.click(greeting.get_by_role("button", name="Close"))
    window.show("stranger-2-registry")
    row = page.get_by_role("row").filter(has_text=version.name)
    stranger.click(row.get_by_role("link", name=f"Version {version.version}", exact=True).first)

    page.get_by_text("Passes all 2 gates.").first.wait_for()
    page.get_by_text("set the tag autocast.approve to champion").first.wait_for()
    window.show("stranger-3-version")
    stranger.click(page.get_by_placeholder("Name").last)
    page.keyboard.type("autocast.approve")
    page.keyboard.press("Tab")
    page.keyboard.type("champion")
    stranger.click(page.get_by_role("button", name="Add", exact=True).last)
    page.get_by_role("cell", name="autocast.approve", exact=True).wait_for()
    assert stranger.clicks <= 6

    assert "champion approved" in answered(f"models:/{version.name}/{version.version}")
    page.reload()
    page.get_by_text("Approval:").first.wait_for()
    page.get_by_text("champion").first.wait_for()
    window.show("stranger-4-approved")
    assert window.errors == []


def test_from_a_version_to_its_report_is_one_click(window, mlflow_server, version):
    open_version(window, mlflow_server, version)
    stranger = Stranger(window.page)
    # MLflow opens links of a description in a tab of their own.
    with window.page.context.expect_page() as opened:
        stranger.click(window.page.get_by_role("link", name="Report", exact=True).first)
    report = opened.value
    verdict = report.frame_locator("iframe").locator(".verdict")
    verdict.wait_for()
    assert verdict.inner_text() == "Passes all 2 gates."
    report.get_by_role("link", name="Runs").first.wait_for()
    report.screenshot(path=str(window.screenshots / "stranger-report.png"))
    assert stranger.clicks <= 2
    assert window.errors == []


def test_a_refusal_is_told_on_the_version(window, mlflow_server, demo, version, answered):
    from mlflow import MlflowClient

    client, metric = MlflowClient(mlflow_server), "fidelity/new_nonfinite"
    client.log_metric(demo.info.run_id, metric, 7.0)
    try:
        client.set_model_version_tag(version.name, version.version, "autocast.approve", "champion")
        assert "champion refused" in answered(f"models:/{version.name}/{version.version}")
    finally:
        client.log_metric(demo.info.run_id, metric, demo.data.metrics[metric])
    open_version(window, mlflow_server, version)
    window.page.get_by_text("fidelity/new_nonfinite is 7").first.wait_for()
    window.page.get_by_role("cell", name="refused", exact=True).wait_for()
    window.show("stranger-refused")
    assert window.errors == []


def test_the_table_of_versions_has_readable_tags_first(window, mlflow_server, version):
    window.page.goto(f"{mlflow_server}/#/models/{version.name}?workflowType=machine_learning")
    row = window.page.get_by_role("row").filter(has_text=f"Version {version.version}")
    row.get_by_text("gates").first.wait_for()
    text = " ".join(row.inner_text().split())
    places = [text.index(word) for word in ("gates", "size", "sqnr", "autocast.")]
    assert places == sorted(places) and "gates : 2 of 2" in text
    window.page.get_by_text("To approve a version, open it").first.wait_for()
    window.show("stranger-model")
    assert window.errors == []


def test_the_run_shows_the_headlines_first_and_its_plots_among_the_charts(window, mlflow_server, demo):
    run = f"{mlflow_server}/#/experiments/{demo.info.experiment_id}/runs/{demo.info.run_id}"
    window.page.goto(f"{run}?workflowType=machine_learning")
    window.page.get_by_text("Passes all 2 gates.").first.wait_for()
    window.page.get_by_role("link", name="fidelity/sqnr_db").first.wait_for()
    names = window.page.locator("a[href$='/model-metrics'], a[href*='/metric']").filter(has_text="/").all_inner_texts()
    assert names[0] == "fidelity/sqnr_db" and len(names) <= 45, names
    window.show("stranger-run")

    window.page.goto(f"{run}/model-metrics?workflowType=machine_learning")
    window.page.get_by_placeholder("Search metric charts").wait_for()
    window.page.mouse.move(600, 700)
    # Charts are drawn when they come into sight.
    for _ in range(80):
        if window.page.evaluate("[...document.images].some(image => image.naturalWidth > 200)"):
            break
        window.page.mouse.wheel(0, 700)
        window.page.wait_for_timeout(300)
    else:
        pytest.fail("no plot among the charts")
    window.show("stranger-plots")
    assert window.errors == []


def test_the_experiment_says_what_it_is_and_where_to_look(window, mlflow_server, demo):
    window.page.goto(f"{mlflow_server}/#/experiments")
    window.page.get_by_text("Conversions of ONNX models").first.wait_for()
    window.show("stranger-experiments")
    assert window.errors == []
