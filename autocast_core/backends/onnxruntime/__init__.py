"""ONNX Runtime: sessions, execution providers, rounding."""

from autocast_core.backends.onnxruntime.session import OnnxRuntime

__all__ = ["OnnxRuntime"]
