"""The default gates: which there are, by what the model's outputs are."""

from __future__ import annotations

import math

import numpy as np
import pytest

from autocast_core.config import Precision
from autocast_core.evaluate import Comparison, default_gates

FLOATS = np.ones((8, 4, 2), np.float32)
SCORES = np.ones((8, 4), np.float32)
WHOLE = np.ones(8, np.int64)


def gates(precision: Precision = Precision.FP16, labels: bool = False, **outputs: np.ndarray) -> tuple[str, ...]:
    comparison = Comparison(tuple(outputs), tuple(outputs), class_outputs=tuple(outputs))
    comparison.add(list(outputs.values()), list(outputs.values()))
    found = comparison.result("fixed").fidelity
    return default_gates(precision, found.metrics() | ({"task/top1": 1.0} if labels else {}), found.names)


@pytest.mark.parametrize(("precision", "limit"), [(Precision.FP16, 40), (Precision.BF16, 22)])
def test_floats_are_judged_in_every_batch(precision: Precision, limit: int) -> None:
    assert gates(precision, y=FLOATS) == (f"worst_batch.sqnr_db>={limit}", "no_new_nonfinite")


def test_logits_and_labelled_outputs_are_judged_by_their_classes() -> None:
    assert "logits.top1_agreement>=0.95" in gates(logits=SCORES)
    assert "logits.top1_agreement>=0.75" in gates(Precision.BF16, logits=SCORES)
    assert gates(pooled=SCORES) == gates(y=FLOATS)
    assert "y.top1_agreement>=0.95" in gates(y=SCORES, labels=True)


def test_integers_are_judged_by_how_many_are_equal_and_not_by_a_ratio() -> None:
    assert gates(ids=WHOLE) == ("equal_share>=0.95", "no_new_nonfinite")
    assert gates(ids=np.ones(32, np.int64), y=FLOATS) == (
        "worst_batch.sqnr_db>=40",
        "equal_share>=0.95",
        "worst_batch.equal_share>=0.5",
        "no_new_nonfinite",
    )


def test_an_output_of_nan_alone_has_no_ratio_to_judge() -> None:
    assert gates(y=np.full((2, 2, 2), math.nan)) == ("no_new_nonfinite",)


def test_without_a_measurement_the_ratio_is_what_is_missing() -> None:
    assert default_gates(Precision.FP16, {}, {}) == ("worst_batch.sqnr_db>=40", "no_new_nonfinite")
