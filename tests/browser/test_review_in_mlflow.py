"""What a reviewer does in MLflow's UI: open the run, look at metrics and plots, work with report.html."""

import re

import pytest

from autocast_core.report.pages.report_page import page as report_page

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser with MLflow")]
NODES = 20_000

FIND = """([text, wanted]) => new Promise((resolve, reject) => {
    const search = document.getElementById("search"), start = performance.now();
    const look = () => {
        const first = document.querySelector("#table button.open");
        if (first && first.textContent === wanted) resolve(performance.now() - start);
        else if (performance.now() - start > 30000) reject(new Error("not found"));
        else requestAnimationFrame(look);
    };
    search.value = text;
    search.dispatchEvent(new Event("input", { bubbles: true }));
    look();
})"""
"""Types into the search field and answers how many milliseconds pass until the wanted node is the first row."""


def open_run(window, server, run, tab=""):
    window.page.goto(f"{server}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}{tab}")


def open_report(window, server, run):
    """report.html in the artifact viewer's frame."""
    open_run(window, server, run, "/artifacts/report.html")
    frame = window.page.frame_locator("iframe")
    frame.locator("#table button.open").first.wait_for()
    return frame


def column(frame, number):
    """The node table's cells in one column, without what is open below its rows."""
    return frame.locator(f"#table > tbody > tr:not(.evidence) > td:nth-child({number})").all_inner_texts()


def test_the_run_shows_its_metrics_and_its_description(window, mlflow_server, demo):
    open_run(window, mlflow_server, demo)
    window.page.get_by_text("fidelity/sqnr_db").first.wait_for()
    window.page.get_by_text("Passes all 2 gates.").first.wait_for()
    window.show("run")
    assert window.errors == []


def test_the_plots_are_shown(window, mlflow_server, demo):
    open_run(window, mlflow_server, demo, "/artifacts/plots/dynamic_range.png")
    picture = window.page.locator("img[src^='blob:'], img[src*='dynamic_range']").first
    picture.wait_for()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 500
    window.show("plot")
    assert window.errors == []


def test_the_report_opens_in_the_artifact_viewer_and_is_worked_with(window, mlflow_server, demo):
    frame = open_report(window, mlflow_server, demo)
    assert frame.locator(".verdict").inner_text() == "Passes all 2 gates."
    window.show("report")

    frame.locator("#search").fill("graph/normalize/unit")
    frame.locator("#found").filter(has_text=re.compile(r"^1 of ")).wait_for()
    assert frame.locator("button.open").all_inner_texts() == ["graph/normalize/unit"]

    frame.locator("#table").get_by_role("button", name="graph/normalize/unit").click()
    evidence = frame.locator("tr.evidence")
    assert "reaches" in evidence.inner_text() and "nodes_to_include" in evidence.inner_text()
    assert evidence.locator("svg .cast").count() >= 1
    evidence.scroll_into_view_if_needed()
    window.show("evidence")

    frame.get_by_role("button", name="Clear").click()
    frame.locator("#precision").select_option("fp32")
    frame.locator("#found").filter(has_text=re.compile(r"^3 of ")).wait_for()
    assert set(column(frame, 3)) == {"fp32"}

    frame.get_by_role("button", name="Clear").click()
    frame.locator("#operator").select_option("Conv")
    frame.locator("#found").filter(has_not_text=re.compile(r"^(3|22) of ")).wait_for()
    assert set(column(frame, 2)) == {"Conv"}
    frame.get_by_role("button", name="Clear").click()
    frame.get_by_role("button", name="Largest magnitude").click()
    largest = [float(text.replace(",", "")) for text in column(frame, 5) if text != "–"]
    assert largest == sorted(largest, reverse=True) and len(largest) > 5
    assert frame.locator("th[data-key=absmax]").get_attribute("aria-sort") == "descending"
    assert window.errors == []


@pytest.fixture(scope="module")
def large(mlflow_server, demo, make_large):
    """A run whose report has 20,000 nodes."""
    from mlflow import MlflowClient

    client = MlflowClient(mlflow_server)
    run = client.create_run(demo.info.experiment_id, run_name="20,000 nodes")
    text = make_large()
    assert len(text.encode()) < 8_000_000
    client.log_text(run.info.run_id, text, "report.html")
    client.set_terminated(run.info.run_id)
    return run


@pytest.fixture(scope="module")
def make_large():
    from tests.autocast_core.report.conftest import build_report

    names = [f"/model/encoder/layer.{i // 40}/attention/self/query/projection/dense_{i}/MatMul" for i in range(NODES)]
    return lambda: report_page(build_report(names, name="large-fp16"))


def test_a_node_among_20000_is_found_within_a_second(window, mlflow_server, demo, large):
    open_report(window, mlflow_server, demo)
    frame = open_report(window, mlflow_server, large)
    frame.locator("#found").filter(has_text="20,000 of 20,000 nodes").wait_for()
    wanted = "graph//model/encoder/layer.432/attention/self/query/projection/dense_17291/MatMul"
    inside = next(each for each in window.page.frames if each != window.page.main_frame)
    milliseconds = inside.evaluate(FIND, ["dense_17291/", wanted])
    assert milliseconds < 1000
    frame.get_by_role("button", name="Clear").click()
    frame.get_by_role("button", name="Next", exact=True).click()
    assert "Page 2 of 200" in frame.locator("#at").inner_text()
    window.show("large")
    assert window.errors == []
