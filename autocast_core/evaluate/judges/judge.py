"""What a judge is: metrics of a task, from the outputs of two models, batch by batch.

- Compares with the FP32 model's own result; and both models with labels, where the data has some.
- Does not run models, and does not look at inputs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from autocast_core.errors import ConfigError, DataError

Outputs = Mapping[str, np.ndarray]
"""A batch's outputs by name, in the order of the model's outputs."""
Values = Mapping[str, float]
"""Metrics by their names within a judge."""


@dataclass(frozen=True)
class JudgeMetric:
    """One metric: what it means, with its formula, and where the definition is from.

    `with_labels` exist where the data has labels. `by_batch` metrics exist of the worst batch too.
    """

    name: str
    meaning: str
    source: str
    higher_is_better: bool
    with_labels: bool = False
    by_batch: bool = False


def against_labels(name: str, meaning: str, source: str, *, higher_is_better: bool) -> tuple[JudgeMetric, ...]:
    """The metric `name` of the converted model where the data has labels, the same of the FP32 model, and by how much
    the first is worse: `NAME_drop`, or `NAME_rise` where lower is better."""
    fp32 = JudgeMetric(f"{name}_fp32", "the same of the FP32 model", source, higher_is_better, with_labels=True)
    change, text = ("drop", f"`{fp32.name}` − `{name}`") if higher_is_better else ("rise", f"`{name}` − `{fp32.name}`")
    return (
        JudgeMetric(name, meaning, source, higher_is_better, with_labels=True),
        fp32,
        JudgeMetric(f"{name}_{change}", text, source, higher_is_better=False, with_labels=True),
    )


@dataclass(frozen=True)
class JudgeOption:
    """An option of a judge: what it says, how its text is read (ValueError where it cannot be), and its default."""

    name: str
    meaning: str
    read: Callable[[str], Any]
    default: Any


class LabelRows:
    """The array `labels`, handed out batch by batch in its order; None where the data has none."""

    def __init__(self, labels: np.ndarray | None) -> None:
        self._labels, self._next = labels, 0

    @property
    def exist(self) -> bool:
        """Whether there are labels."""
        return self._labels is not None

    def take(self, samples: int) -> np.ndarray | None:
        """The next rows, one a sample. DataError where fewer are left."""
        if self._labels is None:
            return None
        self._next += samples
        if self._next > len(self._labels):
            raise DataError(f"{len(self._labels)} labels for at least {self._next} samples: give one row a sample")
        return self._labels[self._next - samples : self._next]

    def require_all_taken(self) -> None:
        """DataError where rows are left over."""
        if self._labels is not None and self._next != len(self._labels):
            raise DataError(f"{len(self._labels)} labels for {self._next} samples: give one row a sample")


class JudgeSums(Protocol):
    """What one judge has added up, of a batch or of several."""

    def add(self, expected: Outputs, found: Outputs, labels: LabelRows) -> None:
        """Add one batch of the FP32 model's and of the candidate's outputs. DataError where labels do not fit."""
        ...

    def merge(self, other: Any) -> None:
        """Add what `other`, of the same judge, has seen after this."""
        ...

    def result(self) -> Values:
        """The metrics; one that nothing was measured for is absent."""
        ...


Start = Callable[[Outputs, Mapping[str, Any]], Callable[[], JudgeSums]]
"""From the first batch of the FP32 model's outputs, and the options by name, what makes empty sums. DataError where it
cannot read such outputs."""


@dataclass(frozen=True)
class Judge:
    """A judge: its metrics, its options, what it reads in words, and what its `labels` are."""

    name: str
    metrics: tuple[JudgeMetric, ...]
    reads: str
    labels: str
    start: Start
    options: tuple[JudgeOption, ...] = ()
    is_sure: Callable[[Collection[str]], bool] = lambda names: False
    """Whether outputs of these names can be nothing else, so that nobody need ask for the judge."""

    def metric(self, name: str) -> JudgeMetric | None:
        """The metric of that name, None without one."""
        return next((each for each in self.metrics if each.name == name), None)

    def unreadable(self, outputs: Outputs, why: str = "") -> DataError:
        """The error for outputs that the judge cannot read: their shapes, and those that it knows."""
        shapes = ", ".join(f"{name} {list(array.shape)} {array.dtype}" for name, array in outputs.items())
        because = f": {why}" if why else ""
        return DataError(f"judge {self.name} cannot read the outputs {shapes}{because}; it reads {self.reads}")

    def unfit(self, labels: np.ndarray, give: str, why: str = "") -> DataError:
        """The error for labels that the judge cannot use: their type and shape, and what to give."""
        return DataError(f"judge {self.name}: labels of {labels.dtype} {[None, *labels.shape[1:]]}{why}; give {give}")


def chosen_output(judge: Judge, outputs: Outputs, wanted: str | None, is_readable: Callable[[np.ndarray], bool]) -> str:
    """The output that `wanted`, the option `output`, names; without it the first that is readable.

    ConfigError where there is no output of that name; DataError where none is readable, or not that one.
    """
    if wanted is not None and wanted not in outputs:
        raise ConfigError(f"judge {judge.name}: no output {wanted!r}; the outputs are {', '.join(outputs)}")
    considered = outputs if wanted is None else {wanted: outputs[wanted]}
    found = next((name for name, array in considered.items() if is_readable(array)), None)
    if found is None:
        raise judge.unreadable(considered)
    return found


def both(expected: Outputs, found: Outputs, output: str) -> tuple[np.ndarray, np.ndarray]:
    """The FP32 model's and the candidate's `output`. DataError where their shapes differ."""
    left, right = expected[output], found[output]
    if left.shape != right.shape:
        raise DataError(
            f"output {output!r} has the shape {list(left.shape)} in FP32 and {list(right.shape)} in the converted"
            " model: only results of one shape can be compared"
        )
    return left, right


def is_float(array: np.ndarray) -> bool:
    """Whether `array` holds floats, of whatever size."""
    return array.dtype.kind not in "iubOUS"


def at_least_single(array: np.ndarray) -> np.ndarray:
    """`array` in float32, whatever its smaller float type; float64 stays."""
    return array if array.dtype == np.float64 else array.astype(np.float32, copy=False)


def output_option() -> JudgeOption:
    """The option `output`, for judges of one output."""
    return JudgeOption("output", "the output that is judged; without it the first that the judge can read", str, None)


def whole_number(least: int | None = None) -> Callable[[str], int]:
    """Reads integers, of at least `least`."""

    def read(text: str) -> int:
        if not re.fullmatch(r"-?\d{1,9}", text) or (least is not None and int(text) < least):
            raise ValueError("give an integer" if least is None else f"give an integer of at least {least}")
        return int(text)

    return read


def number(text: str) -> float:
    """Reads a finite number."""
    try:
        value = float(text)
    except ValueError as error:
        raise ValueError("give a number") from error
    if not math.isfinite(value):
        raise ValueError("give a finite number")
    return value


def share(text: str) -> float:
    """Reads a number from 0 to 1."""
    value = number(text)
    if not 0.0 <= value <= 1.0:
        raise ValueError("give a number from 0 to 1")
    return value


def one_of(*known: str) -> Callable[[str], str]:
    """Reads one of `known`."""

    def read(text: str) -> str:
        if text not in known:
            raise ValueError(f"give one of {', '.join(known)}")
        return text

    return read
