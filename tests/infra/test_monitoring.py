"""Alert rules and the dashboard against the metrics that the bridge exports and the pages that explain them.

tests/integration/test_prometheus.py has Prometheus itself read the rules and the bridge.
"""

import json
import re

import pytest
import yaml
from starlette.testclient import TestClient

from flows.bridge.app import OUTCOMES, make_app
from flows.bridge.prefect_runs import FLOWS, STATES
from tests.flows.bridge.test_app import NOW, SETTINGS, FakeServers
from tests.infra.docs.pages import DOCS
from tests.infra.test_files import DEPLOYMENTS, INFRA, ROOT

MONITORING = INFRA / "monitoring"
RULES = yaml.safe_load((MONITORING / "alerts.yaml").read_text(encoding="utf-8"))["groups"][0]["rules"]
PANELS = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))["panels"]
QUERIES = [rule["expr"] for rule in RULES] + [one["expr"] for panel in PANELS for one in panel["targets"]]


@pytest.fixture(scope="module")
def exported():
    """The metrics of the bridge, without suffixes, each with the names of its labels."""
    with TestClient(make_app(SETTINGS, FakeServers(), lambda: NOW)) as client:
        text = client.get("/metrics").text
    return set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))


def metrics_of(query):
    names = re.findall(r"\b(?:autocast_\w+|up\b)", re.sub(r"\{[^}]*\}", "", query))
    return {re.sub("_(bucket|sum|count)$", "", name) for name in names}


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_uses_metrics_that_are_exported(exported, query):
    assert metrics_of(query)
    # Prometheus makes `up` itself.
    assert metrics_of(query) - {"up"} <= exported


def test_every_metric_is_described_for_its_reader(exported):
    page = (DOCS / "monitoring.md").read_text(encoding="utf-8")
    mine = {name for name in exported if name.startswith("autocast_") and not name.endswith("_created")}
    assert {name for name in mine if f"`{name}" not in page} == set()


def test_labels_in_queries_are_those_of_flows_states_and_outcomes_that_exist():
    used = " ".join(QUERIES)
    for label, allowed in (("flow", FLOWS), ("state", STATES), ("outcome", OUTCOMES)):
        for values in re.findall(rf'\b{label}=~?"([^"]+)"', used):
            assert set(values.split("|")) <= set(allowed)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_names_its_part_of_the_page_for_the_person_who_is_called(rule):
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^### (\S+)$", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert anchor == rule["alert"].lower() and rule["alert"] in headings
    assert rule["labels"]["severity"] in ("page", "ticket")


def test_every_outcome_of_a_delivery_is_known_from_the_beginning():
    sources = " ".join(path.read_text(encoding="utf-8") for path in (ROOT / "flows" / "bridge").glob("*.py"))
    rejected = set(re.findall(r'DeliveryRejectedError\(\s*\d+, "(\w+)"', sources))
    assert {"bad_signature", "too_many"} <= rejected <= set(OUTCOMES)


def test_the_page_explains_no_alert_that_does_not_exist():
    headings = re.findall(r"^### (\S+)$", (DOCS / "runbooks/on-call.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == [rule["alert"] for rule in RULES]


def test_the_metrics_know_every_deployed_flow_and_every_ending_state():
    from flows.conversion.ending_states import ENDING_STATES

    assert set(FLOWS) == {one["name"] for one in DEPLOYMENTS}
    assert set(STATES) == {"Completed", "Failed", "Cancelled", "Crashed", *ENDING_STATES}


def test_every_event_is_described_for_its_reader():
    from flows.cli.bridge import EVENTS
    from flows.conversion import notifications

    page = (DOCS / "monitoring.md").read_text(encoding="utf-8")
    ours = re.findall("``((?:autocast\\.|\\.)?[a-z0-9_.]+)``", notifications.__doc__)
    assert {"autocast.conversion.completed", ".gate_failed", "output_sha256"} <= set(ours)
    assert {name for name in (*(f"mlflow.{each}" for each in EVENTS), *ours) if f"`{name}`" not in page} == set()
