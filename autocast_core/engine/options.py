"""How to build an engine: shapes of dynamic inputs, plugins, limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TIMEOUT = 600.0
_PLACES = (lambda count: 0, lambda count: count // 2, lambda count: count - 1)


@dataclass(frozen=True)
class Profile:
    """The shapes of a dynamic input that an engine is built for: smallest, usual, largest."""

    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]


@dataclass(frozen=True)
class EngineOptions:
    """How to build an engine.

    `profiles` are by input name; dynamic dimensions of an input without one are 1. `plugins` are shared libraries,
    loaded into the plugin registry. `timing_cache` is a file that classic TensorRT reads and writes (TensorRT for RTX
    has none); `timeout` is in seconds, for everything.
    """

    profiles: Mapping[str, Profile] = field(default_factory=dict)
    plugins: tuple[str, ...] = ()
    workspace_bytes: int | None = None
    timing_cache: Path | None = None
    timeout: float = TIMEOUT


def profiles_of(shapes: Mapping[str, Iterable[Sequence[int]]]) -> dict[str, Profile]:
    """Profiles that hold the given shapes of each input: the smallest, the median and the largest of each dimension.

    `shapes` is input name to the shapes seen, for example those of the calibration batches; all of one rank.
    """
    profiles = {}
    for name, seen in shapes.items():
        sizes = [sorted(each) for each in zip(*seen, strict=True)]
        low, middle, high = (tuple(each[place(len(each))] for each in sizes) for place in _PLACES)
        profiles[name] = Profile(low, middle, high)
    return profiles


def profiles_of_batches(batches: Iterable[Mapping[str, Any]]) -> dict[str, Profile]:
    """Profiles that hold every batch: arrays by input name. Sequences have no shape and no profile."""
    seen: dict[str, list[tuple[int, ...]]] = {}
    for batch in batches:
        for name, array in batch.items():
            if hasattr(array, "shape"):
                seen.setdefault(name, []).append(tuple(array.shape))
    return profiles_of(seen)
