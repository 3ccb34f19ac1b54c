"""Judges: metrics of tasks, by the names that people know, from the outputs of the FP32 and the converted model."""

from autocast_core.evaluate.judges.asked import AskedJudge, asked_judges, parse_judge
from autocast_core.evaluate.judges.judge import Judge, JudgeMetric
from autocast_core.evaluate.judges.registry import JUDGES, judge_named, judges_table, logged_metric
from autocast_core.evaluate.judges.tally import Judged, JudgeTally

__all__ = [
    "JUDGES",
    "AskedJudge",
    "Judge",
    "JudgeMetric",
    "JudgeTally",
    "Judged",
    "asked_judges",
    "judge_named",
    "judges_table",
    "logged_metric",
    "parse_judge",
]
