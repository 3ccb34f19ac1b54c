"""Checks before and after a conversion: valid ONNX, inputs and outputs of the source, loads in a runtime."""

from autocast_core.verify.checks import Verified, check_source, load_checked, verify, verify_widened
from autocast_core.verify.interface import ModelInterface, Port, model_interface
from autocast_core.verify.remedies import invalid_source

__all__ = [
    "ModelInterface",
    "Port",
    "Verified",
    "check_source",
    "invalid_source",
    "load_checked",
    "model_interface",
    "verify",
    "verify_widened",
]
