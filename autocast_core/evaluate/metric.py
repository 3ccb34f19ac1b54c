"""A task metric of the user's own: a function of all outputs and the labels."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import logging
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autocast_core.errors import ConfigError
from autocast_core.evaluate.metric_names import of_task
from autocast_core.text import one_line

_LOG = logging.getLogger(__name__)

MetricFunction = Callable[[Mapping[str, np.ndarray], "np.ndarray | None"], float]


@dataclass(frozen=True)
class TaskMetric:
    """`function` gets every output by name, its batches joined along the first axis, and the labels (None without);
    it returns one number, more being better. `name` is ``module:function``."""

    name: str
    function: MetricFunction

    @property
    def digest(self) -> str:
        """sha256 of the function's source (of its name where the source is not available): an edited one differs."""
        try:
            text = inspect.getsource(self.function)
        except (OSError, TypeError):
            text = self.name
        return hashlib.sha256(text.encode()).hexdigest()

    def __call__(self, outputs: Mapping[str, np.ndarray], labels: np.ndarray | None) -> float:
        """The number. ConfigError where the function raises, with the traceback in the log, or gives no number."""
        try:
            value = float(self.function(outputs, labels))
        except Exception as error:
            _LOG.exception("the metric function %s raised", self.name)
            raise ConfigError(
                f"metric {self.name} raises {type(error).__name__}: {one_line(error)}; its traceback is in the log"
            ) from error
        if math.isnan(value):
            raise ConfigError(f"metric {self.name} gives NaN: it must return a number")
        return value


def load_metric(name: str) -> TaskMetric:
    """The function that ``module:function`` names, looked for in the current folder too. ConfigError without one."""
    module, separator, function = name.partition(":")
    if not separator or not module or not function:
        raise ConfigError(f"metric {name!r}: give module:function")
    try:
        with _current_folder():
            found = getattr(importlib.import_module(module), function)
    except Exception as error:  # an imported module may raise anything
        raise ConfigError(f"metric {name!r} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise ConfigError(f"metric {name!r} is not a function")
    return TaskMetric(name, found)


@contextmanager
def _current_folder() -> Iterator[None]:
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def joined(names: Sequence[str], batches: Sequence[Sequence[Any]]) -> dict[str, np.ndarray]:
    """By output name the arrays of all batches, joined along the first axis (stacked where they have none)."""
    found = {}
    for index, name in enumerate(names):
        arrays = [np.asarray(batch[index]) for batch in batches]
        found[name] = np.concatenate(arrays) if arrays[0].ndim else np.stack(arrays)
    return found


def task_metric_values(reference: float, candidate: float) -> dict[str, float]:
    """The metric's values of both models, by the names that gates know."""
    return {
        of_task("metric"): candidate,
        of_task("metric_fp32"): reference,
        of_task("metric_ratio"): candidate / reference if reference else 1.0,
    }
