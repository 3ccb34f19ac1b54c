"""Gates and budgets: expressions over metrics that a conversion must satisfy."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from autocast_core.errors import ConfigError
from autocast_core.evaluate.classification import CLASS_METRICS
from autocast_core.evaluate.errors import ERROR_METRICS
from autocast_core.evaluate.judges import JUDGES, logged_metric
from autocast_core.evaluate.metric_names import (
    TASK,
    WORST_BATCH,
    of_judge,
    of_task,
    of_worst_batch,
    of_worst_output,
    own_name,
)
from autocast_core.evaluate.worst_batch import BATCH_METRICS

_FIDELITY = (*ERROR_METRICS, "equal_share", *CLASS_METRICS)
_TASK = {
    "top1": of_task("top1"),
    "top1_drop": of_task("top1_drop"),
    "top5": of_task("top5"),
    "top5_drop": of_task("top5_drop"),
    "task_metric_ratio": of_task("metric_ratio"),
}
_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
NO_NEW_NONFINITE = "no_new_nonfinite"
NO_NONFINITE = "no_nonfinite"
ALLOW_NONFINITE = "repair the model, or set allow_nonfinite: true in the spec"
"""What to do where NO_NONFINITE is missed."""
_NO_ELEMENT = {NO_NEW_NONFINITE: "new_nonfinite", NO_NONFINITE: "nonfinite"}
"""Gates without a comparison: the metric that must be 0."""
_EXPRESSION = re.compile(r"(?P<left>[^<>=]+)(?P<operator>>=|<=|==|>|<)(?P<value>[^<>=]+)")
"""No two neighbours match the same letter, so that matching takes linear time; anyone's text comes here."""
_KNOWN = (
    f"{', '.join(_FIDELITY)} (also as OUTPUT.METRIC, worst_batch.METRIC, OUTPUT.worst_batch.METRIC),"
    f" {', '.join(_TASK)}, JUDGE.METRIC of the judges {', '.join(JUDGES)}, with one of {' '.join(_OPERATORS)} and a"
    f" number, or {NO_NEW_NONFINITE}, {NO_NONFINITE}"
)


@dataclass(frozen=True)
class GateResult:
    """`expression` as given, the metric's value (None where there is none), and why it failed."""

    expression: str
    value: float | None
    passed: bool
    reason: str = ""


@dataclass(frozen=True)
class Gate:
    """One parsed expression: the worst output's metric, or that of `output` or of a `judge`, compared with `limit`;
    over all batches, or in the worst batch."""

    expression: str
    metric: str
    comparison: str
    limit: float
    output: str | None = None
    worst_batch: bool = False
    judge: str | None = None

    @property
    def is_fidelity(self) -> bool:
        """Whether it judges how far the outputs are from the original's, and not a task."""
        return self.metric not in _TASK and self.judge is None

    @property
    def needs_labels(self) -> bool:
        """Whether it judges answers by labels."""
        if self.judge is None:
            return self.metric in _TASK
        metric = JUDGES[self.judge].metric(self.metric)
        return metric is not None and metric.with_labels

    def check(
        self,
        metrics: Mapping[str, float],
        names: Mapping[str, str] | None = None,
        places: Mapping[str, str] | None = None,
    ) -> GateResult:
        """The gate on logged metrics; `names` are the names of outputs in metrics (Fidelity.names), `places` says by
        metric where its value was found (Fidelity.places).

        A metric that is missing or NaN fails. ConfigError where there is no output of that name.
        """
        key = self.reads(names or {})
        value = metrics.get(key)
        if value is None:
            return GateResult(self.expression, None, False, _missing(key, metrics))
        passed = _OPERATORS[self.comparison](value, self.limit)
        where = f" ({places[key]})" if places and key in places else ""
        return GateResult(self.expression, value, passed, "" if passed else f"{key} is {value:.6g}{where}")

    def failed(self, reason: str) -> GateResult:
        """The gate as failed without checking a metric, for example because there is no data."""
        return GateResult(self.expression, None, False, reason)

    def reads(self, names: Mapping[str, str]) -> str:
        """The name of the metric that the gate is about; `names` as for `check`. ConfigError as there."""
        if self.judge is not None:
            return of_judge(self.judge, self.metric, worst_batch=self.worst_batch)
        if self.metric in _TASK:
            return _TASK[self.metric]
        if self.output is None:
            return of_worst_batch(self.metric) if self.worst_batch else of_worst_output(self.metric)
        if self.output not in names:
            raise ConfigError(
                f"gate {self.expression!r}: no output {self.output!r}; the outputs are {', '.join(names)}"
            )
        return own_name(self.output, self.metric, names, worst_batch=self.worst_batch)


def _missing(key: str, metrics: Mapping[str, float]) -> str:
    judged = logged_metric(key.replace(f"/{WORST_BATCH}/", "/"))
    if judged is not None and not judged[1].with_labels:
        return f"the judge {judged[0].name} found nothing to compare in the data"
    if key.startswith(f"{TASK}/"):
        no_top5 = of_task("top1") in metrics and "top5" in key
        return "no more than five classes" if no_top5 else "no labels in the evaluation data"
    few = key.endswith("/top5_agreement") and f"{key.removesuffix('top5_agreement')}kl" in metrics
    if key.rpartition("/")[2] in CLASS_METRICS:
        return (
            "no more than five classes" if few else "no output is known to hold class scores: name it in class_outputs"
        )
    if key.endswith("/equal_share"):
        return "no output of integers, booleans or strings"
    return f"no metric {key}"


def parse_gate(expression: str) -> Gate:
    """The gate that `expression` says, like ``sqnr_db>=40``, ``worst_batch.sqnr_db>=40`` or ``logits.rel_l2<=5e-3``.
    ``boxes.map_ratio>=0.995`` is about a judge. ConfigError otherwise."""
    if (metric := _NO_ELEMENT.get(expression.strip())) is not None:
        return Gate(expression, metric, "<=", 0.0)
    match = _EXPRESSION.fullmatch(expression)
    if match is None:
        raise ConfigError(f"gate {expression!r} is not a comparison; known are {_KNOWN}")
    left, value = match["left"].strip(), match["value"].strip()
    output, metric, worst_batch = _left(left)
    judge = _judge(expression, output, metric, worst_batch)
    known = BATCH_METRICS if worst_batch else _FIDELITY
    if judge is None and metric not in known and (output or worst_batch or metric not in _TASK):
        of_batches = f"; of worst_batch {', '.join(BATCH_METRICS)}" if worst_batch else ""
        raise ConfigError(f"gate {expression!r}: unknown metric {left!r}; known are {_KNOWN}{of_batches}")
    try:
        limit = float(value)
    except ValueError as error:
        raise ConfigError(f"gate {expression!r}: {value!r} is not a number; known are {_KNOWN}") from error
    if limit != limit:
        raise ConfigError(f"gate {expression!r}: NaN cannot be compared with; give a number")
    of = None if judge is not None else output or None
    return Gate(expression, metric, match["operator"], limit, of, worst_batch, judge)


def _left(text: str) -> tuple[str, str, bool]:
    """Output (empty: the worst), metric, and whether it is the worst batch's."""
    output, _, metric = text.rpartition(".")
    if output == WORST_BATCH:
        return "", metric, True
    if output.endswith(f".{WORST_BATCH}"):
        return output.removesuffix(f".{WORST_BATCH}"), metric, True
    return output, metric, False


def _judge(expression: str, name: str, metric: str, worst_batch: bool) -> str | None:
    """The judge that the gate is about; None where `name` is an output's or there is none. ConfigError where a judge of
    that name has no such metric, or where a judge has to be named."""
    if metric in (*_FIDELITY, *_TASK):
        return None
    owners = [each for each, judge in JUDGES.items() if judge.metric(metric) is not None]
    if name not in JUDGES:
        if owners and not name:
            written = " or ".join(f"{each}.{metric}" for each in owners)
            raise ConfigError(f"gate {expression!r}: {metric} is a metric of a judge: write {written}")
        return None
    known = [each.name for each in JUDGES[name].metrics if each.by_batch or not worst_batch]
    if metric not in known:
        of = f"{name}.{WORST_BATCH}" if worst_batch else name
        raise ConfigError(f"gate {expression!r}: {of} has no metric {metric!r}; it has {', '.join(known)}")
    return name
