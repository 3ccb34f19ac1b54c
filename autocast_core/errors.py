"""The errors of the converter and of everything built on it.

Every message is one line that says what is wrong, where, and how to mend it. The class decides the exit code of the
command line: 2 for what the user gave us, 3 for a gate, 1 for the rest.
"""

from __future__ import annotations

from autocast_core.text import visible

_LONGEST = 1500


class AutocastError(Exception):
    """The root of all errors that this project raises on purpose."""

    exit_code = 1

    def __str__(self) -> str:
        """The message, with line ends and other control characters escaped, and what goes beyond 1,500 letters cut out
        of its middle: it may hold names from anyone's files."""
        return visible(super().__str__(), _LONGEST)


class InputError(AutocastError):
    """Something the user gave us cannot be used: a file, data, an option, a credential."""

    exit_code = 2


class ModelError(InputError):
    """The model cannot be read, is invalid, or refers to data that is missing or out of bounds."""


class DataError(InputError):
    """Calibration or evaluation data cannot be read or does not fit the model's inputs."""


class PlanError(InputError):
    """A plan file cannot be read, or was made for another structure."""


class ConfigError(InputError):
    """An option or a spec has a value that cannot be used."""


class OutputError(InputError):
    """The destination cannot be written."""


class UnconvertibleError(InputError):
    """The request cannot be met for this model; names the node, the operator and what could help."""


class GateError(AutocastError):
    """The converted model misses a required accuracy."""

    exit_code = 3


class BackendError(AutocastError):
    """A runtime (ONNX Runtime, TensorRT) is missing, too old, or fails on a model that is valid."""


class VerificationError(AutocastError):
    """Conversion produced an invalid model: a bug in AutoCast Flow, not in the input."""


class ServiceError(AutocastError):
    """A server that the flow needs (S3, MLflow, Prefect) does not answer or refuses; a later try may succeed."""
