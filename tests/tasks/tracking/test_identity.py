"""Identity: what makes two requests the same conversion."""

from tasks.tracking.identity import identity


def test_identity_changes_with_every_part():
    base = ("model", "calibration", "evaluation", "spec", "1.0")
    changed = [tuple("other" if i == j else part for j, part in enumerate(base)) for i in range(5)]
    assert len({identity(*parts) for parts in (base, *changed)}) == 6


def test_missing_data_differs_from_data_given_for_the_other_purpose():
    assert identity("m", "d", None, "s", "1") != identity("m", None, "d", "s", "1")
