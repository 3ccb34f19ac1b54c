"""Planted faults shown alone: at most 12 nodes in either type, whatever disguises the candidate."""

import pytest

from autocast_core.backends.onnxruntime import OnnxRuntime
from autocast_core.diagnose.reproduction.reproduction import MOST_NODES, reproduction
from autocast_core.diagnose.reproduction.sub_models import node_count
from autocast_core.model import load_proto
from tests.autocast_core.diagnose.diagnosed import diagnosed
from tests.autocast_core.diagnose.planted_pairs import PAIRS, PlantedPair, names

_EVERY = 8


@pytest.mark.parametrize(
    "planted",
    [pytest.param(p, id=str(p), marks=() if not n % _EVERY else pytest.mark.slow) for n, p in enumerate(PAIRS)],
)
def test_a_planted_fault_is_shown_alone(planted: PlantedPair):
    reference, candidate, base, blamed = planted.pair()
    diagnosis = diagnosed(reference, candidate, base.data)
    found = reproduction(load_proto(reference), load_proto(candidate), diagnosis, OnnxRuntime(("cpu",), threads=1))
    assert names(found.culprit, blamed)
    parts = [found.fault.candidate] + ([found.fault.reference] if found.fault.reference is not None else [])
    assert all(1 <= node_count(part) <= MOST_NODES for part in parts)
    shown = found.shown.distance
    measured = max(found.culprit.own, found.culprit.amplified)
    assert shown.new_infinite or shown.new_nan or shown.rel_l2 >= 0.5 * min(measured, 1.0)
