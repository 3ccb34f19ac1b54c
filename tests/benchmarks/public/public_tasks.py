"""What models are used for: how far decisions taken from two sets of outputs agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Outputs = Sequence[Sequence[np.ndarray]]
"""The outputs of a model, for each sample."""
Task = Callable[[Outputs, Outputs], str]


def classes(*outputs: int) -> Task:
    """How many rows of scores have their largest at the same place."""

    def compared(exact: Outputs, found: Outputs) -> str:
        pairs = [
            (one[i].argmax(-1), other[i].argmax(-1)) for one, other in zip(exact, found, strict=True) for i in outputs
        ]
        return _share([a == b for a, b in pairs], "classes equal")

    return compared


def decisions(threshold: float, output: int = 0, what: str = "decisions equal") -> Task:
    """How many scores lie on the same side of a threshold."""

    def compared(exact: Outputs, found: Outputs) -> str:
        pairs = zip(exact, found, strict=True)
        return _share([(a[output] > threshold) == (b[output] > threshold) for a, b in pairs], what)

    return compared


def detections(threshold: float, output: int = 0, *, transposed: bool = False, scores: slice = slice(4, None)) -> Task:
    """How many candidate boxes have a score above the threshold, in both."""

    def count(each: Sequence[np.ndarray]) -> np.ndarray:
        rows = each[output].swapaxes(-1, -2) if transposed else each[output]
        return rows[..., scores].max(-1) > threshold

    def compared(exact: Outputs, found: Outputs) -> str:
        one, other = (np.concatenate([count(each).ravel() for each in outputs]) for outputs in (exact, found))
        return f"{int((one & other).sum())} of {int(one.sum())} boxes, {int((other & ~one).sum())} more"

    return compared


def pixels(threshold: float) -> Task:
    """Intersection over union of the masks above a threshold."""

    def compared(exact: Outputs, found: Outputs) -> str:
        one, other = (np.concatenate([each[0].ravel() > threshold for each in outputs]) for outputs in (exact, found))
        return f"IoU {(one & other).sum() / max(1, (one | other).sum()):.4f} of {int(one.sum()):,} pixels"

    return compared


def transcripts() -> Task:
    """How many lines read the same by greedy CTC decoding, symbol 0 being the blank."""

    def read(output: np.ndarray) -> tuple[int, ...]:
        path = output.argmax(-1).ravel()
        return tuple(int(a) for a, before in zip(path, [0, *path[:-1]], strict=True) if a and a != before)

    def compared(exact: Outputs, found: Outputs) -> str:
        same = [read(one[0]) == read(other[0]) for one, other in zip(exact, found, strict=True)]
        symbols = sum(len(read(one[0])) for one in exact)
        return f"{sum(same)} of {len(same)} lines equal ({symbols} symbols)"

    return compared


def neighbours(exact: Outputs, found: Outputs) -> str:
    """How many embeddings have the same nearest other."""

    def nearest(outputs: Outputs) -> np.ndarray:
        rows = np.stack([each[0].ravel() for each in outputs])
        rows = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
        likeness = rows @ rows.T
        np.fill_diagonal(likeness, -np.inf)
        return likeness.argmax(-1)

    return _share([nearest(exact) == nearest(found)], "nearest neighbours equal")


def _share(equal: Sequence[np.ndarray], what: str) -> str:
    joined = np.concatenate([np.ravel(each) for each in equal])
    return f"{int(joined.sum())} of {joined.size} {what}"
