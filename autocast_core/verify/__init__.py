"""Checks before and after a conversion: valid ONNX, the contract of inputs and outputs, loads in a runtime."""

from autocast_core.verify.checks import Verdict, check_source, load_checked, verify
from autocast_core.verify.contract import IoContract, Port, io_contract

__all__ = ["IoContract", "Port", "Verdict", "check_source", "io_contract", "load_checked", "verify"]
