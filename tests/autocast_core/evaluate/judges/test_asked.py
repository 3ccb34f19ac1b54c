"""Which judges are asked for, and what is said of wrong words."""

from __future__ import annotations

import pytest

from autocast_core.errors import ConfigError
from autocast_core.evaluate.errors import ERROR_METRICS
from autocast_core.evaluate.judges import JUDGES, asked_judges, judges_table, logged_metric, parse_judge
from autocast_core.evaluate.worst_batch import BATCH_METRICS


def test_a_judge_has_the_options_that_are_said_and_the_defaults_of_the_others() -> None:
    asked = parse_judge(" boxes: layout=yolov8 , score=0.4")
    assert (asked.judge.name, asked.is_asked, asked.takes_labels) == ("boxes", True, True)
    assert (asked.options["layout"], asked.options["score"], asked.options["overlap"]) == ("yolov8", 0.4, 0.5)
    assert not parse_judge("tokens:labels=off").takes_labels


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bxs", "unknown judge 'bxs'; known are boxes, masks, tokens, embeddings, ranking, depth, speech"),
        ("boxes:iou=0.4", r"'iou=0.4' is not one of its options; give OPTION=VALUE with layout, score"),
        ("boxes:layout", r"'layout' is not one of its options; give OPTION=VALUE"),
        ("boxes:layout=yolo", "layout=yolo: give one of yolov5, yolov8"),
        ("boxes:score=1.5", "score=1.5: give a number from 0 to 1"),
        ("boxes:score=a", "score=a: give a number"),
        ("ranking:k=0", "k=0: give an integer of at least 1"),
        ("speech:blank=x", "blank=x: give an integer"),
        ("masks:threshold=inf", "threshold=inf: give a finite number"),
    ],
)
def test_wrong_words_are_named_with_those_that_there_are(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_judge(text)


def test_judges_are_those_said_those_of_gates_and_those_that_names_leave_no_doubt_about() -> None:
    outputs = ("num_dets", "det_boxes", "det_scores", "det_classes")
    found = asked_judges(["tokens:shift=1"], ["tokens", "masks"], outputs)
    assert [(each.judge.name, each.is_asked) for each in found] == [("tokens", True), ("masks", True), ("boxes", False)]
    assert found[0].options["shift"] == 1


@pytest.mark.parametrize("names", [("logits",), ("output0",), ("boxes", "scores"), ("pred_boxes", "logits"), ("y",)])
def test_names_that_may_be_several_things_ask_for_no_judge(names: tuple[str, ...]) -> None:
    assert asked_judges([], [], names) == ()


def test_a_judge_is_given_once() -> None:
    with pytest.raises(ConfigError, match="judge boxes is given twice"):
        asked_judges(["boxes", "boxes:score=0.5"])


def test_no_metric_of_a_judge_can_be_taken_for_one_of_an_output() -> None:
    names = {metric.name for judge in JUDGES.values() for metric in judge.metrics}
    assert not names & {*ERROR_METRICS, *BATCH_METRICS, "top1", "top5", "top1_drop", "top5_drop", "task_metric_ratio"}


def test_every_metric_has_a_meaning_and_a_source_and_stands_in_the_table() -> None:
    table = judges_table()
    for judge in JUDGES.values():
        for metric in judge.metrics:
            assert metric.meaning and metric.source
            assert f"| `{judge.name}.{metric.name}` |" in table
            found = logged_metric(f"task/{judge.name}/{metric.name}")
            assert found is not None and found[1] == metric
    assert logged_metric("task/top1") is None
