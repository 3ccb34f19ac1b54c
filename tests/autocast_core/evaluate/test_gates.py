"""Gate expressions."""

from __future__ import annotations

import math
import time

import pytest

from autocast_core.errors import ConfigError
from autocast_core.evaluate import GateResult, parse_gate

METRICS = {
    "fidelity/sqnr_db": 42.0,
    "fidelity/rel_l2": 4e-3,
    "fidelity/new_nonfinite": 0.0,
    "fidelity/nonfinite": 3.0,
    "fidelity/worst_batch/sqnr_db": 12.0,
    "fidelity/outputs/a_b/worst_batch/rel_l2": 0.25,
    "fidelity/outputs/a_b/rel_l2": 1e-3,
    "task/top1_drop": 0.002,
    "task/metric_ratio": 0.9995,
    "task/top5_drop": 0.0,
    "task/top1": 0.5,
    "fidelity/kl": 1e-4,
    "fidelity/p99_abs": 0.25,
    "fidelity/cosine": math.nan,
}


@pytest.mark.parametrize(
    ("expression", "value", "passed"),
    [
        ("sqnr_db>=40", 42.0, True),
        ("sqnr_db > 42", 42.0, False),
        (" rel_l2 <= 5e-3 ", 4e-3, True),
        ("a/b.rel_l2<=5e-4", 1e-3, False),
        ("top1_drop<=0.001", 0.002, False),
        ("task_metric_ratio>=0.999", 0.9995, True),
        ("top5_drop<=0", 0.0, True),
        ("kl<=1e-5", 1e-4, False),
        ("p99_abs<=0.5", 0.25, True),
        ("no_new_nonfinite", 0.0, True),
        ("new_nonfinite == 0", 0.0, True),
        ("no_nonfinite", 3.0, False),
        ("worst_batch.sqnr_db>=40", 12.0, False),
        ("a/b.worst_batch.rel_l2<=0.5", 0.25, True),
    ],
)
def test_gates_compare_metrics(expression: str, value: float, passed: bool) -> None:
    found = parse_gate(expression).check(METRICS, {"a/b": "a_b", "c": "c"})
    assert (found.expression, found.value, found.passed) == (expression, value, passed)


def test_a_failed_gate_says_the_value() -> None:
    assert parse_gate("sqnr_db>=60").check(METRICS).reason == "fidelity/sqnr_db is 42"


def test_nan_fails_every_comparison() -> None:
    assert not parse_gate("cosine>=0").check(METRICS).passed
    assert not parse_gate("cosine<=0").check(METRICS).passed


def test_a_metric_without_data_fails_with_the_reason() -> None:
    assert parse_gate("top1_drop<=1").check({}) == GateResult(
        "top1_drop<=1", None, False, "no labels in the evaluation data"
    )
    assert parse_gate("sqnr_db>=1").failed("no data") == GateResult("sqnr_db>=1", None, False, "no data")


def test_an_output_may_have_dots_in_its_name() -> None:
    gate = parse_gate("model.head.0.rel_l2<=1")
    assert (gate.output, gate.metric) == ("model.head.0", "rel_l2")


def test_an_unknown_output_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="no output 'logit'; the outputs are logits, boxes"):
        parse_gate("logit.rel_l2<=1").check(METRICS, {"logits": "logits", "boxes": "boxes"})


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("", "is not a comparison"),
        ("sqnr_db", "is not a comparison"),
        ("sqnr_db=>40", "is not a comparison"),
        ("sqnr_db>=40dB", "'40dB' is not a number"),
        ("sqnr_db>=nan", "NaN cannot be compared with"),
        ("snr>=40", "unknown metric 'snr'; known are rel_l2, max_abs"),
        ("out.top1_drop<=1", "unknown metric 'out.top1_drop'"),
        ("worst_batch.top1_drop<=1", "of worst_batch rel_l2, sqnr_db"),
        ("y.worst_batch.elements>=0", "unknown metric 'y.worst_batch.elements'"),
    ],
)
def test_what_cannot_be_read_says_what_can(expression: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_gate(expression)
    assert said in str(caught.value)
    assert "no_new_nonfinite" in str(caught.value) or "NaN" in said


@pytest.mark.parametrize(
    ("expression", "metrics", "reason"),
    [
        ("kl<=1", {"fidelity/rel_l2": 0.1}, "no output is known to hold class scores"),
        ("equal_share>=1", {"fidelity/rel_l2": 0.1}, "no output of integers, booleans or strings"),
        ("top5_agreement>=1", {"fidelity/kl": 0.1}, "no more than five classes"),
        ("top5_drop<=0", {"task/top1": 0.1}, "no more than five classes"),
        ("top5_drop<=0", {}, "no labels in the evaluation data"),
    ],
)
def test_a_metric_that_the_model_does_not_have_fails_with_the_reason(
    expression: str, metrics: dict[str, float], reason: str
) -> None:
    found = parse_gate(expression).check(metrics)
    assert not found.passed
    assert reason in found.reason


@pytest.mark.parametrize(
    "text", [" " * 100_000, "a" + " " * 100_000, " " * 50_000 + "a<" + " " * 50_000, "a" * 100_000]
)
def test_an_expression_is_read_in_linear_time(text):
    """999 spaces took seconds: tags may set gates, and the bridge reads them."""
    started = time.process_time()
    with pytest.raises(ConfigError):
        parse_gate(text)
    assert time.process_time() - started < 1.0


JUDGED = {"task/boxes/lost": 3.0, "task/boxes/worst_batch/lost": 2.0, "task/boxes/map_ratio": 0.998}


@pytest.mark.parametrize(
    ("expression", "value", "passed"),
    [
        ("boxes.map_ratio>=0.995", 0.998, True),
        ("boxes.lost<=2", 3.0, False),
        ("boxes.worst_batch.lost<=2", 2.0, True),
    ],
)
def test_gates_compare_what_judges_found(expression: str, value: float, passed: bool) -> None:
    gate = parse_gate(expression)
    found = gate.check(JUDGED, {"y": "y"})
    assert (gate.judge, gate.output, gate.is_fidelity) == ("boxes", None, False)
    assert (found.value, found.passed) == (value, passed)


def test_a_missed_gate_on_the_worst_batch_says_which_it_was() -> None:
    gate = parse_gate("boxes.worst_batch.lost<=1")
    found = gate.check(JUDGED, {}, {"task/boxes/worst_batch/lost": "batch 3 of 8"})
    assert found.reason == "task/boxes/worst_batch/lost is 2 (batch 3 of 8)"


def test_an_output_may_have_the_name_of_a_judge() -> None:
    gate = parse_gate("boxes.rel_l2<=0.1")
    assert (gate.output, gate.judge, gate.is_fidelity) == ("boxes", None, True)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("boxes.loss<=1", "boxes has no metric 'loss'; it has map_ratio, matched_map"),
        ("boxes.worst_batch.map<=1", "boxes.worst_batch has no metric 'map'; it has lost, new, class_flips"),
        ("map_ratio>=1", "map_ratio is a metric of a judge: write boxes.map_ratio"),
        ("bxs.map_ratio>=1", "unknown metric 'bxs.map_ratio'; known are .* of the judges boxes, masks"),
    ],
)
def test_a_wrong_metric_of_a_judge_is_named_with_those_that_there_are(expression: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_gate(expression)


def test_a_judge_that_found_nothing_fails_with_the_reason() -> None:
    assert parse_gate("boxes.map_ratio>=1").check({}).reason == "the judge boxes found nothing to compare in the data"
    assert parse_gate("boxes.map>=0").check({}).reason == "no labels in the evaluation data"
