"""Comparing two models output by output, batch by batch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from autocast_core.calibrate import Batches
from autocast_core.errors import DataError
from autocast_core.evaluate.errors import ErrorSums, OutputFidelity
from autocast_core.evaluate.task import TaskMetrics, Top1
from autocast_core.progress import Progress, ProgressCallback, silent
from autocast_core.runtime import Session

_METRICS = ("rel_l2", "max_abs", "mean_abs", "cosine", "sqnr_db", "new_nonfinite")
_FORBIDDEN = re.compile(r"[^A-Za-z0-9_\-]")
_LONGEST_NAME = 200
WORST = "worst"


@dataclass(frozen=True)
class Fidelity:
    """How a candidate differs from the reference: each output, and what executed both."""

    outputs: tuple[OutputFidelity, ...]
    backend: str
    batches: int

    @property
    def worst(self) -> OutputFidelity:
        """Each metric's worst value over the outputs, under the name of the one with the largest relative error.

        Float outputs where there are any: a decision that flips at a tie says little as a number. `new_nonfinite` is
        the sum.
        """
        judged = [output for output in self.outputs if output.is_float] or self.outputs
        worst = max(judged, key=lambda output: output.rel_l2)
        return OutputFidelity(
            name=worst.name,
            rel_l2=worst.rel_l2,
            max_abs=max(output.max_abs for output in judged),
            mean_abs=max(output.mean_abs for output in judged),
            cosine=min(output.cosine for output in judged),
            sqnr_db=worst.sqnr_db,
            new_nonfinite=sum(output.new_nonfinite for output in judged),
            equal_share=min(output.equal_share for output in judged),
            elements=sum(output.elements for output in judged),
            is_float=worst.is_float,
        )

    @cached_property
    def names(self) -> dict[str, str]:
        """By output name the name in metrics: letters, digits, ``_`` and ``-``, unique, never ``worst``."""
        taken = {WORST}
        names = {}
        for output in self.outputs:
            base = name = _FORBIDDEN.sub("_", output.name)[:_LONGEST_NAME] or "_"
            number = 1
            while name in taken:
                number += 1
                name = f"{base}_{number}"
            taken.add(name)
            names[output.name] = name
        return names

    def metrics(self, prefix: str = "fidelity") -> dict[str, float]:
        """Every metric of every output and of the worst, by the names that runs are logged under."""
        found: dict[str, float] = {}
        for output in self.outputs:
            found |= _named(f"{prefix}.{self.names[output.name]}", output)
        return found | _named(f"{prefix}.{WORST}", self.worst) if self.outputs else found


def _named(prefix: str, output: OutputFidelity) -> dict[str, float]:
    metrics = _METRICS if output.is_float else (*_METRICS, "equal_share")
    return {f"{prefix}.{metric}": float(getattr(output, metric)) for metric in metrics}


@dataclass(frozen=True)
class Evaluation:
    """Fidelity and, where the data has labels, task accuracy."""

    fidelity: Fidelity
    task: TaskMetrics | None


def compare(reference: Session, candidate: Session, batches: Batches, progress: ProgressCallback = silent) -> Fidelity:
    """The fidelity of `candidate` to `reference` over `batches`; outputs are matched by name.

    Raises DataError where the candidate lacks an output or the data does not fit, BackendError where a model fails.
    """
    return _evaluate(reference, candidate, batches, None, progress).fidelity


def evaluate(
    reference: Session, candidate: Session, batches: Batches, progress: ProgressCallback = silent
) -> Evaluation:
    """`compare`, and in the same pass both models' accuracy where the data has labels (for the first output)."""
    return _evaluate(reference, candidate, batches, batches.labels, progress)


def _evaluate(
    reference: Session, candidate: Session, batches: Batches, labels: np.ndarray | None, progress: ProgressCallback
) -> Evaluation:
    order = _order(reference.output_names, candidate.output_names)
    sums = [ErrorSums(name) for name in reference.output_names]
    tops = None if labels is None else (Top1(labels), Top1(labels))
    for number, feeds in enumerate(batches):
        progress(Progress("evaluate", number, len(batches), "batches"))
        expected, found = reference.run(feeds), candidate.run(feeds)
        for total, left, index in zip(sums, expected, order, strict=True):
            total.add(left, found[index])
        if tops is not None:
            tops[0].add(np.asarray(expected[0]))
            tops[1].add(np.asarray(found[order[0]]))
    progress(Progress("evaluate", len(batches), len(batches), "batches"))
    fidelity = Fidelity(tuple(total.result() for total in sums), candidate.backend, len(batches))
    task = None if tops is None else TaskMetrics(tops[0].accuracy(), tops[1].accuracy(), tops[0].samples)
    return Evaluation(fidelity, task)


def _order(reference: Iterable[str], candidate: Iterable[str]) -> list[int]:
    places = {name: index for index, name in enumerate(candidate)}
    missing = [name for name in reference if name not in places]
    if missing:
        raise DataError(
            f"the candidate has no output {missing[0]!r} (it has {', '.join(places)}); compare two forms of one model"
        )
    return [places[name] for name in reference]
