"""Runtimes that execute models; the only room that imports onnxruntime or tensorrt, and only when they are used."""

from autocast_core.backends.onnxruntime import OnnxRuntime

__all__ = ["OnnxRuntime"]
