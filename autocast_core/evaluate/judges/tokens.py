"""The judge `tokens`: whether a language model chooses the same tokens, and how likely it finds the true ones.

- Judges logits position by position as they are given (teacher forcing); it does not feed choices back into the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from autocast_core.evaluate.classification import AgreementSums
from autocast_core.evaluate.judges.judge import (
    Judge,
    JudgeMetric,
    JudgeOption,
    LabelRows,
    Outputs,
    Values,
    both,
    chosen_output,
    is_float,
    output_option,
    whole_number,
)
from autocast_core.evaluate.sums.field_sums import merge_fields, smallest

IGNORED = -100
"""The label of positions that do not count, as in Hugging Face's data collators and PyTorch's cross entropy."""
_OURS = "defined here"
_ROWS_ELEMENTS = 1 << 20
_PERPLEXITY = "Jelinek et al., 1977; exp of PyTorch's cross_entropy"
_METRICS = (
    JudgeMetric(
        "agreement",
        "share of positions at which greedy decoding (argmax) chooses the same token",
        "accuracy, as scikit-learn's accuracy_score",
        higher_is_better=True,
        by_batch=True,
    ),
    JudgeMetric(
        "first_difference",
        "the earliest position at which any sequence's token differs; without any, the length of the shortest",
        _OURS,
        higher_is_better=True,
        by_batch=True,
    ),
    JudgeMetric(
        "same_sequences", "share of sequences without a differing token", _OURS, higher_is_better=True, by_batch=True
    ),
    JudgeMetric(
        "kl_divergence",
        "mean over positions of Σ p (log p − log q), p FP32's and q the converted model's softmax; nats",
        "Kullback and Leibler, 1951",
        higher_is_better=False,
        by_batch=True,
    ),
    JudgeMetric(
        "perplexity_change",
        "perplexity of the converted model over the FP32 model's, − 1: on labels where there are any, else on the FP32"
        " model's own choices",
        _PERPLEXITY,
        higher_is_better=False,
    ),
    JudgeMetric(
        "perplexity",
        "exp of the mean over positions of −log q(label), of the converted model",
        _PERPLEXITY,
        higher_is_better=False,
        with_labels=True,
    ),
    JudgeMetric("perplexity_fp32", "the same of the FP32 model", _PERPLEXITY, higher_is_better=False, with_labels=True),
)


@dataclass
class _Tokens:
    output: str
    shift: int
    positions: int = 0
    same: int = 0
    sequences: int = 0
    same_sequences: int = 0
    scored: int = 0
    first: float = smallest(math.inf)
    loss: float = 0.0
    loss_fp32: float = 0.0
    agreement: AgreementSums = field(default_factory=AgreementSums)
    has_labels: bool = False

    def add(self, expected: Outputs, found: Outputs, labels: LabelRows) -> None:
        left, right = (_three(each) for each in both(expected, found, self.output))
        truth = labels.take(len(left))
        left, right = (each[:, : each.shape[1] - self.shift] for each in (left, right))
        shape, tokens = left.shape[:2], left.shape[2]
        counted, differs = np.ones(shape, bool), np.zeros(shape, bool)
        if truth is not None:
            truth = self._fitted(truth, left)
            counted = truth != IGNORED
            self.has_labels = True
        # In double precision a batch of logits may not fit into memory: some positions at a time.
        rows, others = left.reshape(-1, tokens), right.reshape(-1, tokens)
        targets = None if truth is None else truth.reshape(-1)
        step = max(1, _ROWS_ELEMENTS // tokens)
        for start in range(0, len(rows), step):
            here = slice(start, start + step)
            part = None if targets is None else targets[here]
            counted.reshape(-1)[here], differs.reshape(-1)[here] = self._positions_of(
                rows[here].astype(np.float64), others[here].astype(np.float64), counted.reshape(-1)[here], part
            )
        self._count(counted, differs)

    def _positions_of(
        self, left: np.ndarray, right: np.ndarray, counted: np.ndarray, truth: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Adds positions, [positions, tokens] in float64; which of them count, and at which tokens differ."""
        counted = counted & ~np.isnan(left).any(axis=1)
        best = left.argmax(axis=1)
        differs = counted & ((best != right.argmax(axis=1)) | np.isnan(right).any(axis=1))
        if counted.any():
            left, right = left[counted], right[counted]
            targets = (best if truth is None else truth)[counted]
            self.agreement.add(left, right)
            self.loss_fp32 += _loss(left, targets)
            self.loss += _loss(right, targets)
            self.scored += targets.size
        return counted, differs

    def _fitted(self, truth: np.ndarray, left: np.ndarray) -> np.ndarray:
        rows = truth.reshape(len(truth), -1)[:, self.shift :]
        tokens = left.shape[2]
        bad = truth.dtype.kind not in "iu" or rows.shape != left.shape[:2]
        if bad or (rows[rows != IGNORED] >= tokens).any() or (rows[rows != IGNORED] < 0).any():
            give = f"the token of each position, from 0 to {tokens - 1}, or {IGNORED}"
            raise TOKENS.unfit(truth, give, f" do not fit the logits {[None, *left.shape[1:]]}")
        return rows.astype(np.int64)

    def _count(self, counted: np.ndarray, differs: np.ndarray) -> None:
        self.positions += int(np.count_nonzero(counted))
        self.same += int(np.count_nonzero(counted & ~differs))
        self.sequences += len(differs)
        any_differs = differs.any(axis=1)
        self.same_sequences += int(np.count_nonzero(~any_differs))
        lengths = np.where(any_differs, differs.argmax(axis=1), differs.shape[1])
        self.first = min(self.first, float(lengths.min(initial=differs.shape[1])))

    def merge(self, other: _Tokens) -> None:
        merge_fields(self, other)

    def result(self) -> Values:
        if not self.positions:
            return {}
        values = {
            "agreement": self.same / self.positions,
            "first_difference": self.first,
            "same_sequences": self.same_sequences / self.sequences,
            "kl_divergence": self.agreement.result().kl,
            "perplexity_change": _exp((self.loss - self.loss_fp32) / self.scored) - 1.0,
        }
        if self.has_labels:
            values["perplexity"] = _exp(self.loss / self.scored)
            values["perplexity_fp32"] = _exp(self.loss_fp32 / self.scored)
        return values


def _exp(value: float) -> float:
    return math.exp(value) if value < 700.0 else math.inf


def _loss(scores: np.ndarray, targets: np.ndarray) -> float:
    """Sum over rows of -log softmax(scores)[target]; infinite where a row holds NaN."""
    if np.isnan(scores).any() or (scores == np.inf).any():
        return math.inf
    highest = scores.max(axis=1, keepdims=True)
    total = np.log(np.exp(scores - highest).sum(axis=1)) + highest[:, 0]
    return float((total - np.take_along_axis(scores, targets[:, None], axis=1)[:, 0]).sum())


def _three(array: np.ndarray) -> np.ndarray:
    """[batch, positions, tokens]; of [batch, tokens], the last position's logits, one position."""
    return array[:, None] if array.ndim == 2 else array


def _is_readable(array: np.ndarray) -> bool:
    return array.ndim in (2, 3) and array.shape[-1] >= 2 and is_float(array)


def _start(outputs: Outputs, options: Mapping[str, Any]) -> Callable[[], _Tokens]:
    name = chosen_output(TOKENS, outputs, options["output"], _is_readable)
    array = outputs[name]
    shift = options["shift"]
    if shift and (array.ndim == 2 or array.shape[1] <= shift):
        raise TOKENS.unreadable({name: array}, f"shift={shift} leaves no position")
    return lambda: _Tokens(name, shift)


TOKENS = Judge(
    "tokens",
    _METRICS,
    "logits [batch, positions, tokens], or [batch, tokens] of one position",
    f"[sequences, positions], integers: the token that each position should give, {IGNORED} where it does not count (in"
    " no metric); with shift=1 the input tokens themselves",
    _start,
    (
        JudgeOption(
            "shift",
            "by how many positions labels come before the logits that should give them; 1 where labels are the inputs"
            " of a causal model",
            whole_number(0),
            0,
        ),
        output_option(),
    ),
)
