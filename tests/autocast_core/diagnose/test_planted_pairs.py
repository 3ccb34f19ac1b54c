"""One fault in each pair of models, however these were converted, optimised and renamed: it is named first."""

import pytest

from tests.autocast_core.diagnose.planted_pairs import PAIRS, PlantedPair, names

_EVERY = 4


@pytest.mark.parametrize(
    "planted",
    [pytest.param(p, id=str(p), marks=() if not n % _EVERY else pytest.mark.slow) for n, p in enumerate(PAIRS)],
)
def test_the_planted_fault_is_named_first_in_at_most_three_passes(planted: PlantedPair):
    found, blamed = planted.diagnosed()
    assert found.diverges
    assert names(found.culprits[0], blamed), found.sentence()
    assert found.passes <= 3


def test_the_pairs_hold_every_fault_and_every_disguise():
    assert len(PAIRS) == len(set(PAIRS)) == 64
    assert {pair.fault for pair in PAIRS} >= {"overflow", "underflow", "cancellation", "lost_mask", "wrong_axis"}
    assert {pair.disguise for pair in PAIRS} >= {"optimised_renamed", "raised_renamed", "autocast", "onnxslim"}
