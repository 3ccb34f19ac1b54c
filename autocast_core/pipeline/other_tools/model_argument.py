"""The argument `model` of other tools' functions, which take models in memory alone."""

from __future__ import annotations

import onnx

from autocast_core.errors import ConfigError


def check_model_argument(model: object) -> None:
    """ConfigError, saying what to give, unless `model` is an onnx.ModelProto."""
    if not isinstance(model, onnx.ModelProto):
        raise ConfigError(f"the model is a {type(model).__name__}: give an onnx.ModelProto, as onnx.load returns")
