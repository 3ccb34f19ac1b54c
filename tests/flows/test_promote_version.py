"""Approval by a tag: the gated promotion decides, and the person finds the answer on the version."""

import json
from pathlib import Path

import onnx
import pytest

from autocast_core.errors import ConfigError, ServiceError
from tests.flows.conversions import batches, client, convert, mlp, registered_folder, working_in

pytestmark = pytest.mark.xdist_group("prefect")
NAME, URI = "asked", "models:/asked/1"
APPROVE, APPROVAL, REASON = "autocast.approve", "autocast.approval", "autocast.approval_reason"


@pytest.fixture(scope="module")
def run_id(services, tmp_path_factory):
    """A conversion that passes its gate."""
    folder: Path = tmp_path_factory.mktemp("asked")
    with working_in(folder):
        data = batches(folder / "data.npz")
        yield convert(mlp(folder / "net.onnx"), calibration=data, gates=("rel_l2<=5e-3",), name=NAME).run_id


@pytest.fixture
def allowed(monkeypatch):
    monkeypatch.setenv("AUTOCAST_APPROVAL_ALIASES", "champion staging")


def ask(alias, version="1"):
    client().set_model_version_tag(NAME, version, APPROVE, alias)


def version():
    return client().get_model_version(NAME, "1")


def aliases():
    return {alias: str(version) for alias, version in client().get_registered_model(NAME).aliases.items()}


def promoted(model=URI):
    """The state in which the flow ends, and what it returns."""
    from flows.promote_version import promote_version

    state = promote_version(model, return_state=True)
    return state, state.result(raise_on_failure=False)


@pytest.fixture
def bad_metric(run_id):
    """The run's metric as somebody made it after the conversion."""
    measured = client().get_run(run_id).data.metrics["fidelity/rel_l2"]
    client().log_metric(run_id, "fidelity/rel_l2", 0.5)
    yield
    client().log_metric(run_id, "fidelity/rel_l2", measured)


def test_a_version_that_passes_gets_the_alias_that_its_tag_asks_for(workplace, run_id, allowed):
    ask("champion")
    state, found = promoted()
    assert (state.name, found["approved"], found["alias"]) == ("Completed", True, "champion")
    assert aliases()["champion"] == "1"
    assert APPROVE not in version().tags
    assert version().tags[APPROVAL] == "approved"
    assert version().tags["autocast.alias_checked.champion"]
    assert version().description.startswith("**Approval:** champion **approved**, ")


def test_the_description_says_how_to_approve(workplace, run_id):
    assert "To approve: set the tag autocast.approve to champion" in version().description.replace("\\_", "_")


def test_an_approval_of_a_version_that_fails_its_gates_is_refused_with_the_reason_on_the_version(
    workplace, run_id, allowed, bad_metric
):
    before = version().description.partition("\n\n")[2] or version().description
    ask("staging")
    state, found = promoted()
    assert (state.type.value, state.name, found["approved"]) == ("COMPLETED", "Refused", False)
    assert "fidelity/rel_l2 is 0.5" in found["reason"]
    assert "staging" not in aliases()
    assert APPROVE not in version().tags
    assert version().tags[APPROVAL] == "refused"
    assert version().tags[REASON] == f"staging: {found['reason']}"
    first, _, rest = version().description.partition("\n\n")
    assert first.startswith("**Approval:** staging **refused**, ")
    assert "is 0.5" in first
    assert before in (rest, version().description)


def test_what_was_answered_is_not_answered_again(workplace, run_id, allowed):
    ask("staging")
    assert promoted()[0].name == "Completed"
    client().delete_registered_model_alias(NAME, "staging")
    assert promoted()[0].name == "Skipped"
    assert "staging" not in aliases()


@pytest.mark.parametrize(("setting", "alias"), [("", "champion2"), ("champion", "production"), ("champion", "champ*")])
def test_an_alias_that_the_operator_does_not_list_is_refused_with_the_setting(
    workplace, run_id, monkeypatch, setting, alias
):
    monkeypatch.setenv("AUTOCAST_APPROVAL_ALIASES", setting)
    ask(alias)
    assert promoted()[0].name == "Refused"
    assert alias not in aliases()
    assert "AUTOCAST_APPROVAL_ALIASES" in version().tags[REASON]


def test_tags_ask_and_never_loosen_gates(workplace, run_id, allowed, bad_metric):
    loosening = {"autocast.spec": json.dumps({"gates": []}), "autocast.alias_checked.staging": "2027-01-01"}
    for name, value in loosening.items():
        client().set_model_version_tag(NAME, "1", name, value)
    ask("staging")
    assert promoted()[1]["approved"] is False
    for name in loosening:
        client().delete_model_version_tag(NAME, "1", name)
    assert "staging" not in aliases()


def test_changed_files_are_refused(workplace, run_id, allowed):
    (file,) = registered_folder(NAME, "1").glob("*.onnx")
    content = file.read_bytes()
    model = onnx.load(file)
    model.doc_string = "changed"
    onnx.save(model, file)
    ask("staging")
    try:
        assert promoted()[1]["approved"] is False
    finally:
        file.write_bytes(content)
    assert "sha256 of the registered files" in version().tags[REASON]


def test_a_version_of_somebody_elses_is_refused_on_that_version(workplace, services, allowed):
    client().create_registered_model("foreign")
    client().create_model_version("foreign", workplace.as_uri(), tags={APPROVE: "champion"})
    assert promoted("models:/foreign/1")[0].name == "Refused"
    assert "was not registered by AutoCast Flow" in client().get_model_version("foreign", "1").tags[REASON]
    assert client().get_registered_model("foreign").aliases == {}


@pytest.mark.parametrize("fault", ["server", "key"])
def test_what_is_not_the_versions_fault_leaves_the_question_for_the_next_try(
    workplace, run_id, allowed, monkeypatch, fault
):
    from flows.local.home import home
    from flows.review import approval

    def gone(*_):
        raise ServiceError("the store does not answer")

    if fault == "server":
        monkeypatch.setattr(approval, "promote", gone)
    else:
        monkeypatch.setenv("AUTOCAST_TRUSTED_KEY", "none.pem")
    ask("staging")
    with pytest.raises((ServiceError, ConfigError)):
        approval.answer_approval(URI, home())
    assert version().tags[APPROVE] == "staging"
    client().delete_model_version_tag(NAME, "1", APPROVE)


def test_an_approval_whose_event_was_lost_is_answered_by_the_reconciliation(workplace, run_id, allowed):
    from flows.reconcile_registry import reconcile_registry

    ask("staging")
    assert reconcile_registry(days=0.0)["answered"] == [URI]
    assert aliases()["staging"] == "1"
    assert APPROVE not in version().tags
    assert reconcile_registry(days=0.0)["answered"] == []
