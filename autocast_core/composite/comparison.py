"""Compares converted forms of a composite model with its FP32 form, where the chain of stages ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autocast_core.composite.declaration import TOKENS
from autocast_core.composite.execution import Sessions, run_composite
from autocast_core.composite.wiring import Wiring
from autocast_core.data import Batches
from autocast_core.evaluate import AskedJudge, Comparison, Evaluation
from autocast_core.evaluate.class_scores import called_class_scores
from autocast_core.progress import Progress, ProgressCallback, silent


def compare_composites(
    wiring: Wiring,
    reference: Sessions,
    candidates: Mapping[str, Sessions],
    batches: Batches,
    progress: ProgressCallback = silent,
    judges: Sequence[AskedJudge] = (),
) -> dict[str, Evaluation]:
    """By the candidate's name how far its outputs are from the reference's, over all batches, as `evaluate` has it.

    The reference runs once. Tokens are what each form chooses by itself; the logits behind them are compared with both
    forms fed the reference's tokens, since after the first other token they would answer other questions. So the class
    agreement and divergence of logits are those of the next token. `judges` see what the fidelity is of.
    """
    names = [str(origin) for origin in wiring.outputs]
    generating = {wired.name: wired for wired in wiring.stages if wired.stage.generate is not None}
    logits = {str(o) for o in wiring.outputs if o.stage in generating and o.name != TOKENS}
    labels = None if wiring.outputs[0].stage in generating else batches.labels
    scores = called_class_scores(names) | logits
    comparisons = {name: Comparison(names, names, labels, class_outputs=scores, judges=judges) for name in candidates}
    for number, arrays in enumerate(batches):
        progress(Progress("evaluate", number, len(batches), "batches"))
        expected = run_composite(wiring, reference, arrays)
        for name, sessions in candidates.items():
            found = run_composite(wiring, sessions, arrays, expected)
            comparisons[name].add(expected.outputs(wiring.outputs), found.outputs(wiring.outputs))
    progress(Progress("evaluate", len(batches), len(batches), "batches"))
    return {name: each.result(_backend(candidates[name])) for name, each in comparisons.items()}


def _backend(sessions: Sessions) -> str:
    """What executes the stages: one name where it is the same for all."""
    return ", ".join(dict.fromkeys(session.backend for session in sessions.values()))
