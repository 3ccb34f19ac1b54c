"""What one run has read or made, by digest, so that its stages parse no file twice."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import onnx_ir as ir

    from autocast_core.calibrate import Scanned, Statistics
    from autocast_core.config import Precision
    from autocast_core.model import ModelRef
    from autocast_core.plan import PrecisionPlan

T = TypeVar("T")


class ArtifactCache:
    """Models, plans and statistics by the digest of their file.

    What is handed out is shared: whoever changes a model works on a clone (see `holds`). Models keep their weights in
    their files, so the cache is small. It serves one run: nothing is evicted.
    """

    def __init__(self) -> None:
        self._kept: dict[Hashable, Any] = {}

    def model(self, ref: ModelRef) -> ir.Model:
        """The model at `ref`, as `load_model` reads it. Without a digest nothing is kept."""
        from autocast_core.model import load_model

        if not ref.digest:
            return load_model(ref)
        return self._get(("model", ref.path, ref.digest), lambda: load_model(ref))

    def plan(self, path: Path) -> PrecisionPlan:
        """The plan in the file at `path`. PlanError where it is missing, unreadable or invalid."""
        from autocast_core.plan.plan import PrecisionPlan, plan_errors_of

        with plan_errors_of(path):
            text = path.read_text(encoding="utf-8")
            return self._get(("plan", _digest(text)), lambda: PrecisionPlan.from_json(text))

    def statistics(self, path: Path) -> Statistics:
        """The statistics in the file at `path`."""
        from autocast_core.calibrate import Statistics

        text = path.read_text(encoding="utf-8")
        return self._get(("statistics", _digest(text)), lambda: Statistics.from_json(text))

    def keep_model(self, ref: ModelRef, model: ir.Model) -> None:
        """Hand out `model` for `ref` from now on."""
        self._kept[("model", ref.path, ref.digest)] = model

    def keep_plan(self, text: str, plan: PrecisionPlan) -> None:
        """Hand out `plan` for files that hold `text` from now on."""
        self._kept[("plan", _digest(text))] = plan

    def keep_statistics(self, text: str, statistics: Statistics) -> None:
        """Hand out `statistics` for files that hold `text` from now on."""
        self._kept[("statistics", _digest(text))] = statistics

    def keep_scanned(self, precision: Precision, scanned: Scanned) -> None:
        """Hand out `scanned` for this precision from now on."""
        self._kept[("weights", precision)] = {**self.scanned(precision), **scanned}

    def scanned(self, precision: Precision) -> Scanned:
        """The statistics for this precision of weights that were read on the way of something else."""
        found: Scanned = self._kept.get(("weights", precision), {})
        return found

    def holds(self, model: ir.Model) -> bool:
        """Whether another stage may be handed `model`, so that it must not be changed."""
        return any(kept is model for kept in self._kept.values())

    def _get(self, key: Hashable, make: Callable[[], T]) -> T:
        if key not in self._kept:
            self._kept[key] = make()
        found: T = self._kept[key]
        return found


_SHARED: ContextVar[ArtifactCache] = ContextVar("artifacts of this run")


@contextmanager
def shared_artifacts() -> Iterator[ArtifactCache]:
    """Within it, all jobs of this context share one cache."""
    cache = ArtifactCache()
    token = _SHARED.set(cache)
    try:
        yield cache
    finally:
        _SHARED.reset(token)


def artifact_cache() -> ArtifactCache:
    """The cache of this context; outside of `shared_artifacts` an empty one of the caller's own."""
    found = _SHARED.get(None)
    return ArtifactCache() if found is None else found


def _digest(text: str) -> bytes:
    return sha256(text.encode()).digest()
