"""The judge `speech`: which characters change where a recogniser's scores are decoded greedily by CTC."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from autocast_core.errors import ConfigError
from autocast_core.evaluate.judges.edit_distance import edit_distance
from autocast_core.evaluate.judges.judge import (
    Judge,
    JudgeMetric,
    JudgeOption,
    LabelRows,
    Outputs,
    Values,
    against_labels,
    both,
    chosen_output,
    is_float,
    output_option,
    whole_number,
)
from autocast_core.evaluate.sums.field_sums import merge_fields

_CER = "Levenshtein, 1966; as jiwer's cer; decoding: Graves et al., 2006"
_NAN = -2
"""What decoding gives where a frame holds NaN: no character is like it."""
_METRICS = (
    JudgeMetric(
        "cer",
        "characters to insert, delete or replace to get the converted model's text from the FP32 model's, over the FP32"
        " model's characters",
        _CER,
        higher_is_better=False,
        by_batch=True,
    ),
    JudgeMetric("edits", "how many characters these are", _CER, higher_is_better=False, by_batch=True),
    JudgeMetric("changed", "utterances whose text changes", "defined here", higher_is_better=False, by_batch=True),
    *against_labels("label_cer", "`cer` of the converted model to labels", _CER, higher_is_better=False),
)


@dataclass
class EditSums:
    """Edits and lengths of the texts added so far."""

    edits: int = 0
    length: int = 0
    changed: int = 0
    texts: int = 0

    def add(self, truth: list[int], found: list[int]) -> None:
        """Add one text."""
        edits = edit_distance(truth, found)
        self.edits += edits
        self.length += len(truth)
        self.changed += bool(edits)
        self.texts += 1

    def merge(self, other: EditSums) -> None:
        """Add the texts of `other`."""
        merge_fields(self, other)

    @property
    def rate(self) -> float:
        """Edits over the true length, and over 1 where that is 0."""
        return self.edits / max(1, self.length)


@dataclass
class _Speech:
    output: str
    blank: int
    both: EditSums = field(default_factory=EditSums)
    truth: EditSums = field(default_factory=EditSums)
    truth_fp32: EditSums = field(default_factory=EditSums)

    def add(self, expected: Outputs, found: Outputs, labels: LabelRows) -> None:
        left, right = (greedy_ctc(each, self.blank) for each in both(expected, found, self.output))
        rows = labels.take(len(left))
        for ours, theirs in zip(left, right, strict=True):
            self.both.add(ours, theirs)
        if rows is None:
            return
        if rows.dtype.kind not in "iu" or rows.ndim != 2:
            raise SPEECH.unfit(rows, "[utterances, characters], integers, negative where a text has ended")
        for ours, theirs, row in zip(left, right, rows, strict=True):
            text = [int(number) for number in row if number >= 0]
            self.truth_fp32.add(text, ours)
            self.truth.add(text, theirs)

    def merge(self, other: _Speech) -> None:
        merge_fields(self, other)

    def result(self) -> Values:
        if not self.both.texts:
            return {}
        both = self.both
        values = {"cer": both.rate, "edits": float(both.edits), "changed": float(both.changed)}
        if self.truth.texts:
            right, left = self.truth.rate, self.truth_fp32.rate
            values |= {"label_cer": right, "label_cer_fp32": left, "label_cer_rise": right - left}
        return values


def greedy_ctc(scores: np.ndarray, blank: int) -> list[list[int]]:
    """The text of each utterance of `scores` [batch, frames, characters]: the best character of each frame, repeated
    ones once, without `blank` (an index; negative ones count from the end)."""
    best = np.where(np.isnan(scores).any(axis=2), _NAN, scores.argmax(axis=2))
    blank %= scores.shape[2]
    new = np.ones(best.shape, bool)
    new[:, 1:] = best[:, 1:] != best[:, :-1]
    used = new & (best != blank)
    return [row[here].tolist() for row, here in zip(best, used, strict=True)]


def _is_readable(array: np.ndarray) -> bool:
    return array.ndim == 3 and array.shape[2] >= 2 and is_float(array)


def _start(outputs: Outputs, options: Mapping[str, Any]) -> Callable[[], _Speech]:
    name = chosen_output(SPEECH, outputs, options["output"], _is_readable)
    array = outputs[name]
    blank, count = options["blank"], array.shape[2]
    if not -count <= blank < count:
        raise ConfigError(f"judge speech: blank={blank} is not one of the {count} characters of {name!r}")
    return lambda: _Speech(name, blank)


SPEECH = Judge(
    "speech",
    _METRICS,
    "CTC scores [batch, frames, characters]",
    "[utterances, characters], integers: the text's characters, negative numbers after its end",
    _start,
    (
        JudgeOption("blank", "index of CTC's blank; −1 is the last", whole_number(), 0),
        output_option(),
    ),
)
