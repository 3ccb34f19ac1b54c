"""report.html as a file of its own: accessibility, keyboard, print, hostile names; in both colour schemes."""

import re
from dataclasses import replace

import pytest
from msgspec import structs

from autocast_core.report.content import PreviousVersion
from autocast_core.report.pages.comparison_page import Side, compare_runs, comparison_page
from autocast_core.report.pages.report_page import page as report_page
from autocast_core.search.attribution import Attribution, NodeError
from tests.autocast_core.report.conftest import build_report
from tests.browser.conftest import serious_problems

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
HOSTILE = (
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "a\nb\x1b[31m\u202e",
    "\"'&`${1}",
    "n" * 10_000,
)


def full_report():
    attribution = Attribution((NodeError("graph/b", "Relu", 0.01, 0.9), NodeError("graph/c", "Relu", 0.01, 0.1)))
    before = build_report([*"abcdefghijklm"])
    return build_report(
        [*"abcdefghijklmn"],
        attribution=attribution,
        metrics={"task/top1": 0.98, "task/top1_fp32": 0.99},
        previous=PreviousVersion("models:/digits-fp16/3", before.metrics, {"sqnr_db>=40": 60.0}, before.plan),
    )


@pytest.mark.parametrize("window", ["light", "dark"], indirect=True)
def test_axe_finds_no_serious_problem(window, opened, request):
    page = opened(report_page(full_report()))
    page.locator("#table").get_by_role("button", name="graph/a", exact=True).click()
    page.locator("details").evaluate_all("all => all.forEach(each => each.open = true)")
    assert serious_problems(page) == []
    window.show(f"disk-{request.node.callspec.params['window']}")
    assert window.errors == []


@pytest.mark.parametrize("window", ["light", "dark"], indirect=True)
def test_axe_finds_no_serious_problem_in_a_comparison(window, opened):
    left, right = (
        Side(run, run, {"data_max": run}, {"m": value}, build_report(names).plan)
        for run, value, names in (("1", 1.0, "abc"), ("2", 2.0, "abd"))
    )
    assert serious_problems(opened(comparison_page(compare_runs(left, right)))) == []
    window.show("comparison")
    assert window.errors == []


def test_nodes_in_fp32_stand_first_then_those_that_make_the_error_and_identities_are_one_row(window, opened):
    report = full_report()
    decisions = [
        structs.replace(each, op_type="Identity") if each.id in ("graph/d", "graph/e") else each
        for each in report.plan.nodes
    ]
    page = opened(report_page(replace(report, plan=structs.replace(report.plan, nodes=tuple(decisions)))))
    rows = page.locator("#table button.open")
    assert rows.all_inner_texts()[:5] == ["graph/a", "graph/k", "graph/b", "graph/c", "graph/f"]
    assert page.locator("#found").inner_text() == "12 of 14 nodes; 2 Identity folded"
    page.get_by_role("button", name="2 Identity nodes: show").click()
    assert {"graph/d", "graph/e"} <= set(rows.all_inner_texts())
    assert window.errors == []


def test_the_first_screen_has_the_decision_and_the_way_to_approve(window, opened):
    link = "http://mlflow:5000/#/models/digits-fp16"
    page = opened(report_page(replace(full_report(), run_id="1", registry_link=link)))
    in_view = {
        name: page.locator(f"#{name}").bounding_box()["y"] < 1000 for name in ("gains", "gates", "approve", "look")
    }
    assert all(in_view.values())
    assert page.get_by_role("link", name="its page in MLflow").get_attribute("href") == link
    assert "autocast promote models:/digits-fp16/VERSION --alias champion" in page.locator(".approve").inner_text()
    assert window.errors == []


def test_the_keyboard_reaches_evidence(window, opened):
    page = opened(report_page(full_report()))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    page.locator("#search").focus()
    page.keyboard.type("graph/k")
    page.get_by_role("status").filter(has_text=re.compile("^1 of ")).wait_for()
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "open":
            break
    page.keyboard.press("Enter")
    assert "reaches 1000, over data_max 512" in page.locator("tr.evidence").inner_text()
    assert page.evaluate("document.activeElement.getAttribute('aria-expanded')") == "true"
    page.keyboard.press("Enter")
    assert page.locator("tr.evidence").count() == 0


def test_the_report_prints(window, opened):
    page = opened(report_page(full_report()))
    assert page.pdf()[:5] == b"%PDF-"
    assert window.errors == []


def test_hostile_names_are_shown_and_harmless(window, opened):
    page = opened(report_page(build_report(HOSTILE, name=HOSTILE[0])))
    for button in page.locator("button.open").all():
        button.click()
    shown = page.locator("button.open").all_inner_texts()
    assert shown[0] == "graph/" + HOSTILE[0] and shown[1] == "graph/" + HOSTILE[1]
    assert shown[2] == "graph/a\\nb\\x1b[31m\\u202e"
    assert shown[4].endswith("(10,006 characters)") and len(shown[4]) < 300
    assert page.title() != "owned"
    assert page.evaluate("document.images.length") == 0
    window.show("hostile")
    assert window.errors == []
