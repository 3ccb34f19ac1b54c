"""Runtimes that execute models; the only room that imports onnxruntime or tensorrt, and only when they are used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autocast_core.backends.onnxruntime import OnnxRuntime

__all__ = ["OnnxRuntime"]


def __getattr__(name: str) -> Any:
    """Imported when asked for: the child process that talks to TensorRT needs no graph library."""
    if name == "OnnxRuntime":
        from autocast_core.backends.onnxruntime import OnnxRuntime

        return OnnxRuntime
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
