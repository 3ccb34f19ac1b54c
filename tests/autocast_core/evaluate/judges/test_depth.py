"""The judge of depth, beside the formulas of Eigen et al. (2014) written out pixel by pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autocast_core.errors import DataError
from tests.autocast_core.evaluate.judges.judging import judged, values

EXPECTED = np.random.default_rng(0).uniform(1.0, 20.0, (4, 1, 5, 6)).astype(np.float32)
FOUND = EXPECTED * np.exp(np.random.default_rng(1).normal(0.0, 0.2, EXPECTED.shape)).astype(np.float32)


def by_hand(truth: Any, found: Any) -> tuple[float, float]:
    pairs = [(float(t), float(f)) for t, f in zip(np.ravel(truth), np.ravel(found), strict=True) if t > 0]
    near = sum(max(t / f, f / t) < 1.25 for t, f in pairs)
    return near / len(pairs), sum(abs(f - t) / t for t, f in pairs) / len(pairs)


def test_fp32_against_itself_is_perfect() -> None:
    assert values("depth", {"y": EXPECTED}, batches=2) == {"delta1": 1.0, "abs_rel": 0.0}


def test_the_metrics_are_the_formulas_over_all_pixels() -> None:
    mine = values("depth", {"y": EXPECTED}, {"y": FOUND}, batches=3)
    assert (mine["delta1"], mine["abs_rel"]) == pytest.approx(by_hand(EXPECTED, FOUND))
    assert 0.5 < mine["delta1"] < 1.0


def test_unknown_true_depths_do_not_count() -> None:
    labels = (EXPECTED[:, 0] * 1.1).astype(np.float32)
    labels[:, 0] = 0.0
    mine = values("depth", {"y": EXPECTED}, {"y": FOUND}, labels, batches=2)
    assert (mine["label_delta1_fp32"], mine["label_abs_rel_fp32"]) == pytest.approx(by_hand(labels, EXPECTED))
    assert (mine["label_delta1"], mine["label_abs_rel"]) == pytest.approx(by_hand(labels, FOUND))


def test_a_factor_of_each_picture_is_taken_out_where_asked() -> None:
    labels = EXPECTED[:, 0] * np.array([2.0, 3.0, 0.5, 10.0], np.float32)[:, None, None]
    assert values("depth", {"y": EXPECTED}, labels=labels)["label_abs_rel_fp32"] > 0.4
    aligned = values("depth:align=median", {"y": EXPECTED}, labels=labels)
    assert aligned["label_abs_rel_fp32"] == pytest.approx(0.0, abs=1e-6)


def test_planted_pixels_are_all_found_with_their_batch() -> None:
    found = EXPECTED.copy()
    found[3, 0, 0, :4] *= 1.3
    found[2, 0, 1, 0] = np.nan
    found[1, 0, 1, 0] = -1.0
    mine = judged("depth", {"y": EXPECTED}, {"y": found}, batches=4)
    assert mine.values["delta1"] == 1 - 6 / 120
    assert mine.values["abs_rel"] == np.inf
    assert mine.worst["delta1"] == (1 - 4 / 30, 3)


def test_bad_input_is_named_with_what_fits() -> None:
    with pytest.raises(DataError, match=r"outputs y \[2, 3\] float64; it reads positive depths"):
        values("depth", {"y": np.zeros((2, 3))})
    with pytest.raises(DataError, match=r"labels of float32 \[None, 5\] do not fit the depths \[None, 1, 5, 6\]"):
        values("depth", {"y": EXPECTED}, labels=np.ones((4, 5), np.float32))
