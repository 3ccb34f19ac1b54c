"""Modules that are loaded when they are first used, for a command that seldom needs them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType


def load_when_used(*names: str) -> None:
    """Let the first import of each of these modules only make them known; the first use of an attribute loads them.

    For a process of one's own: importlib.util.LazyLoader does not stand two threads that use a module first.
    """
    sys.meta_path.insert(0, _Postponing(frozenset(names)))


def postpone_symbolic_shapes() -> None:
    """Symbolic arithmetic on dimensions, which no conversion does, is most of what importing onnx_ir costs."""
    load_when_used("sympy", "onnx_ir._symbolic_shapes")


class _Postponing:
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
