"""Postpones modules that other packages import and a conversion does not use.

onnx_ir imports sympy for arithmetic on symbolic dimensions, which no stage does. Postponing it brings the import of
`autocast_core.pipeline.convert` from 2.5 s to 0.75 s of CPU time (Python 3.11, loaded machine; 1.7 s of it sympy).

Only a process whose stages run one at a time may use this: the converter's command and the isolated child.
`importlib.util.LazyLoader` is not safe where two threads use a module for the first time: on Python 3.11.7 all but one
of them fail with ``module 'sympy' has no attribute ...``. So the library's functions and the flows, which may run in a
thread pool, import eagerly.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType


def postpone_symbolic_shapes() -> None:
    """To be called before onnx_ir is imported."""
    load_when_used("sympy", "onnx_ir._symbolic_shapes")


def load_when_used(*names: str) -> None:
    """The first import of each of these modules only finds it; the first use of one of its attributes executes it."""
    sys.meta_path.insert(0, _PostponingFinder(frozenset(names)))


class _PostponingFinder:
    """A finder (importlib.abc.MetaPathFinder) that wraps the loaders of some modules."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name in self._names else None
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec
