"""Runtimes that execute models; the only rooms that import onnxruntime or tensorrt, and only when they are used."""
