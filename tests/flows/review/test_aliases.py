"""Aliases that somebody set by hand: checked as in a promotion, flagged, and taken back where the service says so."""

from pathlib import Path

import pytest

from autocast_core.errors import ConfigError
from flows.local.home import home
from tests.flows.conversions import batches, client, convert, mlp, working_in

pytestmark = pytest.mark.xdist_group("prefect")
NAME = "aliased"
UNCHECKED = "autocast.alias_unchecked"


@pytest.fixture(scope="module")
def runs(services, tmp_path_factory):
    """Two versions that pass their gate: their runs."""
    folder: Path = tmp_path_factory.mktemp("aliased")
    with working_in(folder):
        data = batches(folder / "data.npz")
        yield [
            convert(mlp(folder / f"{seed}.onnx", seed), calibration=data, gates=("rel_l2<=5e-3",), name=NAME).run_id
            for seed in (0, 1)
        ]


@pytest.fixture
def second_fails(runs):
    """The metrics of the second version's run as somebody made them after the conversion."""
    measured = client().get_run(runs[1]).data.metrics["fidelity/rel_l2"]
    client().log_metric(runs[1], "fidelity/rel_l2", 0.5)
    yield
    client().log_metric(runs[1], "fidelity/rel_l2", measured)


def by_hand(alias, version):
    client().set_registered_model_alias(NAME, alias, version)


def tags(version):
    return client().get_model_version(NAME, version).tags


def aliases(name=NAME):
    return {alias: str(version) for alias, version in client().get_registered_model(name).aliases.items()}


def found(alias, enforce=False):
    """What is found of the alias."""
    from flows.review.aliases import check_aliases

    return [one for one in check_aliases(client(), home(), enforce=enforce) if one.alias == alias]


def test_an_alias_set_by_hand_on_a_version_that_fails_its_gates_is_flagged(workplace, runs, second_fails):
    by_hand("flagged", "2")
    (one,) = found("flagged")
    assert (one.model, one.taken_back) == ("models:/aliased/2", False)
    assert tags("2")[UNCHECKED].startswith("flagged: models:/aliased/2 is not promoted: ")
    assert "is 0.5" in tags("2")[UNCHECKED]
    assert aliases()["flagged"] == "2"
    client().delete_registered_model_alias(NAME, "flagged")


def test_an_alias_set_by_hand_on_a_version_that_passes_is_recorded_as_checked(workplace, runs):
    by_hand("good", "1")
    assert found("good") == []
    assert tags("1")["autocast.alias_checked.good"]
    assert UNCHECKED not in tags("1")
    assert aliases()["good"] == "1"


def test_the_alias_of_registration_is_nobodys_hand(workplace, runs, second_fails):
    assert aliases()["candidate"] == "2"
    assert found("candidate", enforce=True) == []
    assert aliases()["candidate"] == "2"


def test_an_alias_that_does_not_pass_goes_back_to_the_version_that_passed_last(workplace, runs, second_fails):
    from flows.review.promotion import promote

    promote("models:/aliased/1", "back", home())
    by_hand("back", "2")
    (one,) = found("back", enforce=True)
    assert one.taken_back
    assert aliases()["back"] == "1"
    assert tags("2")[UNCHECKED].endswith("taken back: it points at models:/aliased/1 again")


def test_an_alias_that_no_version_passed_for_is_removed(workplace, runs, second_fails):
    by_hand("new", "2")
    (one,) = found("new", enforce=True)
    assert one.taken_back
    assert "new" not in aliases()
    assert tags("2")[UNCHECKED].endswith("taken back: it was removed")


def test_a_service_that_takes_aliases_back_does_not_believe_a_tag(workplace, runs, second_fails):
    client().set_model_version_tag(NAME, "2", "autocast.alias_checked.forged", "2027-01-01T00:00:00+00:00")
    by_hand("forged", "2")
    assert found("forged") == []
    assert [one.taken_back for one in found("forged", enforce=True)] == [True]
    assert "forged" not in aliases()


def test_an_alias_that_is_set_again_is_taken_back_again_and_the_version_says_so(workplace, runs, second_fails):
    said = []
    for _ in range(2):
        by_hand("again", "2")
        assert found("again", enforce=True)
        said.append(tags("2")[UNCHECKED])
        found("again")
    assert said[0] == said[1]
    assert said[0].endswith("taken back: it was removed")


def test_two_aliases_of_a_version_are_flagged_side_by_side(workplace, runs, second_fails):
    for alias in ("left", "right"):
        by_hand(alias, "2")
    assert found("left") and found("right")
    assert "left: models:/aliased/2" in tags("2")[UNCHECKED]
    assert "right: models:/aliased/2" in tags("2")[UNCHECKED]
    for alias in ("left", "right"):
        client().delete_registered_model_alias(NAME, alias)


def test_a_promotion_clears_the_flag(workplace, runs, second_fails):
    from flows.review.promotion import promote

    by_hand("cleared", "2")
    assert found("cleared")
    client().log_metric(runs[1], "fidelity/rel_l2", 1e-4)
    promote("models:/aliased/2", "cleared", home())
    assert UNCHECKED not in tags("2")


def test_aliases_of_other_models_are_left_alone(workplace, runs):
    client().create_registered_model("not ours")
    client().create_model_version("not ours", workplace.as_uri())
    client().set_registered_model_alias("not ours", "kept", "1")
    assert found("kept", enforce=True) == []
    assert aliases("not ours") == {"kept": "1"}


def test_the_reconciliation_takes_back_where_the_setting_says_so(workplace, runs, second_fails, monkeypatch):
    from flows.reconcile_registry import reconcile_registry

    by_hand("reconciled", "2")
    assert "models:/aliased/2" in reconcile_registry(days=0.0)["unchecked"]
    assert aliases()["reconciled"] == "2"
    monkeypatch.setenv("AUTOCAST_ENFORCE_ALIASES", "1")
    assert "models:/aliased/2" in reconcile_registry(days=0.0)["unchecked"]
    assert "reconciled" not in aliases()


def test_a_setting_that_is_neither_is_refused():
    from flows.review.aliases import enforced

    assert (enforced({}), enforced({"AUTOCAST_ENFORCE_ALIASES": "1"})) == (False, True)
    with pytest.raises(ConfigError, match="AUTOCAST_ENFORCE_ALIASES is 'yes': set it to 1 or 0"):
        enforced({"AUTOCAST_ENFORCE_ALIASES": "yes"})
