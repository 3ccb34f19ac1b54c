"""The worst batch: which it is, what it is judged against, and where it is named."""

from __future__ import annotations

import math

import numpy as np
import pytest

from autocast_core.evaluate import Comparison, Fidelity, parse_gate


def compared(**outputs: list[tuple[np.ndarray, np.ndarray]]) -> Fidelity:
    """The fidelity of outputs, each given as (reference, candidate) batch by batch."""
    comparison = Comparison(tuple(outputs), tuple(outputs))
    for pairs in zip(*outputs.values(), strict=True):
        comparison.add([left for left, _ in pairs], [right for _, right in pairs])
    return comparison.result("fixed").fidelity


def off_by(share: float, size: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    reference = np.full(4, size)
    return reference, reference * (1.0 + share)


def test_one_ruined_batch_shows_beside_a_good_total() -> None:
    metrics = compared(y=[off_by(1e-4)] * 255 + [off_by(0.5)]).metrics()
    assert metrics["fidelity/sqnr_db"] == pytest.approx(30.1, abs=0.1)
    assert metrics["fidelity/outputs/y/worst_batch/sqnr_db"] == pytest.approx(20 * math.log10(2))
    assert metrics["fidelity/worst_batch/rel_l2"] == pytest.approx(0.5)


def test_a_batch_that_gives_almost_nothing_is_judged_against_a_tenth_of_the_usual_signal() -> None:
    quiet = np.full(4, 1e-6), np.full(4, 2e-6)
    found = compared(y=[off_by(0.0)] * 99 + [quiet]).metrics()
    assert found["fidelity/worst_batch/rel_l2"] == pytest.approx(1e-6 / (0.1 * math.sqrt(0.99)))


def test_nothing_but_zeros_with_an_error_is_infinitely_wrong() -> None:
    found = compared(y=[(np.zeros(4), np.full(4, 1e-3))]).metrics()
    assert found["fidelity/worst_batch/rel_l2"] == math.inf and found["fidelity/worst_batch/sqnr_db"] == -200.0


def test_the_output_and_the_batch_are_named_by_the_gate() -> None:
    found = compared(a=[off_by(1e-4), off_by(1e-4)], b=[off_by(1e-4), off_by(0.1)])
    result = parse_gate("worst_batch.sqnr_db>=40").check(found.metrics(), found.names, found.places())
    assert result.reason == "fidelity/worst_batch/sqnr_db is 20 (output 'b', batch 1 of 2)"
    one = parse_gate("a.worst_batch.sqnr_db>=90").check(found.metrics(), found.names, found.places())
    assert one.reason.endswith("(output 'a', batch 0 of 2)")
    total = parse_gate("rel_l2<=1e-3").check(found.metrics(), found.names, found.places())
    assert total.reason.endswith("(output 'b')")


def test_every_error_exists_of_the_worst_batch() -> None:
    good, opposite = off_by(1e-4), (np.full(4, 2.0), np.full(4, -2.0))
    found = compared(y=[good, opposite, good]).metrics()
    for metric in ("mean_abs", "max_abs", "p50_abs", "p90_abs", "p99_abs", "p999_abs"):
        assert found[f"fidelity/worst_batch/{metric}"] == pytest.approx(4.0, rel=0.004)
    assert found["fidelity/worst_batch/cosine"] == -1.0


def test_the_angle_of_a_batch_that_gives_almost_nothing_says_nothing() -> None:
    loud, quiet = off_by(0.0), (np.full(4, 1e-6), np.full(4, -1e-6))
    assert compared(y=[loud] * 9 + [quiet]).metrics()["fidelity/worst_batch/cosine"] == 1.0


def test_agreement_on_classes_is_judged_in_every_batch() -> None:
    right, reversed_ = np.arange(8.0)[None], np.arange(8.0)[None, ::-1]
    found = compared(logits=[(right, right)] * 3 + [(right, reversed_)]).metrics()
    assert (found["fidelity/outputs/logits/top5_agreement"], found["fidelity/outputs/logits/top1_agreement"]) == (
        0.85,
        0.75,
    )
    assert found["fidelity/outputs/logits/worst_batch/top5_agreement"] == 0.4
    assert found["fidelity/worst_batch/top1_agreement"] == 0.0
    assert found["fidelity/worst_batch/kl"] == pytest.approx(4 * found["fidelity/kl"])


def test_an_output_called_worst_batch_is_told_from_the_worst_batch() -> None:
    metrics = compared(worst_batch=[off_by(0.1), off_by(0.0)], other=[off_by(0.2), off_by(0.0)]).metrics()
    names = ("fidelity/outputs/worst_batch/max_abs", "fidelity/outputs/other/worst_batch/max_abs")
    assert [metrics[name] for name in (*names, "fidelity/worst_batch/max_abs")] == pytest.approx([0.1, 0.2, 0.2])


@pytest.mark.parametrize(("elements", "exists"), [(31, False), (32, True)])
def test_integers_are_judged_by_batch_only_where_batches_are_large(elements: int, exists: bool) -> None:
    whole = np.arange(elements)
    metrics = compared(y=[(whole, whole), (whole, whole + 1)]).metrics()
    assert metrics["fidelity/equal_share"] == 0.5
    assert ("fidelity/worst_batch/equal_share" in metrics) == exists
    assert metrics.get("fidelity/worst_batch/equal_share", 0.0) == 0.0


def test_nan_in_both_is_counted_and_not_compared() -> None:
    mixed = np.array([1.0, math.nan]), np.array([1.0, math.nan])
    nothing = np.array([math.nan, math.inf]), np.array([math.nan, math.inf])
    found = compared(y=[mixed, nothing])
    metrics = found.metrics()
    assert (metrics["fidelity/outputs/y/nonfinite"], metrics["fidelity/outputs/y/new_nonfinite"]) == (3.0, 0.0)
    assert (metrics["fidelity/outputs/y/rel_l2"], metrics["fidelity/worst_batch/nonfinite"]) == (0.0, 2.0)
    assert found.by_batch[1][0].sqnr_db != found.by_batch[1][0].sqnr_db
    assert found.nonfinite_results() == (
        "the FP32 model itself gives 3 NaN or infinite values: output 'y', first in batch 0 of 2"
    )


def test_an_output_of_nan_alone_does_not_hide_the_error_of_another() -> None:
    nan = np.full(4, math.nan), np.full(4, math.nan)
    metrics = compared(a=[nan], b=[off_by(0.1)]).metrics()
    assert metrics["fidelity/rel_l2"] == pytest.approx(0.1)
    assert math.isnan(metrics["fidelity/outputs/a/sqnr_db"]) and metrics["fidelity/nonfinite"] == 4.0
    assert math.isnan(compared(a=[nan]).metrics()["fidelity/rel_l2"])
