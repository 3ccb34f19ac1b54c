"""Stage: what TensorRT says to the model."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from prefect import task

from autocast_core.backends.validation import Validation

PACKAGES = ("tensorrt", "tensorrt_rtx")


def validate_model(model: Path, wish: str) -> Validation:
    """Parses and builds the model at `model` where TensorRT (or TensorRT for RTX) is installed.

    `wish` is the spec's ``validation``; ``off`` skips, as does a machine without TensorRT, with the reason.
    """
    if wish == "off":
        return Validation(skipped=("validation is off",))
    backend = _backend()
    if backend is None:
        return Validation(skipped=("TensorRT is not installed: install the extra tensorrt-rtx or gpu",))
    found: Validation = backend.validate_model(model)
    return found


def _backend() -> Any:
    """The TensorRT backend, where it and a TensorRT package are there."""
    if not any(find_spec(name) for name in PACKAGES) or find_spec("autocast_core.backends.tensorrt") is None:
        return None
    return import_module("autocast_core.backends.tensorrt")


validate_task = task(name="validate", persist_result=True)(validate_model)
