"""Judges over batches: worst batches, labels, and judges that nobody asked for."""

from __future__ import annotations

import numpy as np
import pytest

from autocast_core.errors import DataError
from autocast_core.evaluate.judges import AskedJudge, JudgeTally, parse_judge
from tests.autocast_core.evaluate.judges.judging import judged, values

LOGITS = np.random.default_rng(0).normal(size=(6, 4, 7)).astype(np.float32)
OTHER = LOGITS + np.random.default_rng(1).normal(0, 0.4, LOGITS.shape).astype(np.float32)
CASES = {
    "tokens": (LOGITS, OTHER),
    "ranking": (LOGITS, OTHER),
    "speech": (LOGITS, OTHER),
    "depth": (np.abs(LOGITS), np.abs(OTHER)),
    "masks": (LOGITS[..., None], OTHER[..., None]),
    "embeddings": (LOGITS[:, 0], OTHER[:, 0]),
}


@pytest.mark.parametrize("name", CASES)
def test_how_data_is_cut_into_batches_changes_no_metric(name: str) -> None:
    expected, found = ({"y": array} for array in CASES[name])
    whole = values(name, expected, found)
    assert values(name, expected, found, batches=4) == pytest.approx(whole)
    assert set(whole.values()) - {0.0, 1.0}


def test_metrics_and_places_have_the_names_that_runs_are_logged_under() -> None:
    found = judged("tokens", {"y": LOGITS}, {"y": OTHER}, batches=3)
    metrics, places = found.metrics(), found.places()
    assert metrics["task/tokens/agreement"] == found.values["agreement"]
    value, batch = found.worst["agreement"]
    assert metrics["task/tokens/worst_batch/agreement"] == value
    assert places["task/tokens/worst_batch/agreement"] == f"batch {batch} of 3"
    assert "task/tokens/worst_batch/perplexity_change" not in metrics


def test_outputs_of_two_shapes_cannot_be_compared() -> None:
    with pytest.raises(DataError, match=r"output 'y' has the shape \[6, 4, 7\] in FP32 and \[6, 3, 7\]"):
        values("tokens", {"y": LOGITS}, {"y": LOGITS[:, :3]})


@pytest.mark.parametrize("count", [5, 7])
def test_there_is_one_label_a_sample(count: int) -> None:
    with pytest.raises(DataError, match="give one row a sample; or omit them: judges: tokens:labels=off"):
        values("tokens", {"y": LOGITS}, labels=np.zeros((count, 4), np.int64), batches=2)


def test_a_judge_that_nobody_asked_for_is_silent_where_it_cannot_judge() -> None:
    asked = parse_judge("boxes")
    tally = JudgeTally(AskedJudge(asked.judge, asked.options, is_asked=False), None)
    tally.add(["y"], [LOGITS[0, 0]], [LOGITS[0, 0]])
    assert tally.result() is None


def test_outputs_that_are_no_tensors_are_left_out() -> None:
    tally = JudgeTally(parse_judge("tokens"), None)
    tally.add(["sequence", "y"], [[LOGITS], LOGITS], [[LOGITS], OTHER])
    assert tally.result().values == judged("tokens", {"y": LOGITS}, {"y": OTHER}).values
