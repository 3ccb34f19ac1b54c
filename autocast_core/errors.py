"""The errors of the converter and of everything built on it.

Every message is one line that says what is wrong, where, and how to fix it. The class decides the exit code of the
command line: 2 for unusable input, 3 for a gate that fails, 1 for everything else.

Scripts written for AutoCast catch Python's own classes, so errors of models, data, plans and options are ValueErrors,
and those of a missing file FileNotFoundErrors, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from autocast_core.text import visible

_LONGEST = 1500


class AutocastError(Exception):
    """The base class of every error that this project raises on purpose."""

    exit_code = 1

    def __new__(cls, *args: object) -> Self:
        # Errors that are OSErrors too would inherit ValueError's, which cannot make them. A call of the class does not
        # mind, but tblib, with which Dask brings errors back from its workers, calls this.
        return (OSError if issubclass(cls, OSError) else Exception).__new__(cls, *args)

    def __str__(self) -> str:
        """The message on one line, since it may hold names from untrusted files: control characters are escaped, and
        the middle of a message of more than 1,500 characters is left out."""
        return visible(super().__str__(), _LONGEST)


class InputError(AutocastError):
    """Something that the user gave cannot be used: a file, data, an option, a credential."""

    exit_code = 2


class ModelError(InputError, ValueError):
    """The model cannot be read, is invalid, or refers to data that is missing or out of bounds."""


class DataError(InputError, ValueError):
    """Calibration or evaluation data cannot be read or does not fit the model's inputs."""


class PlanError(InputError, ValueError):
    """A plan file cannot be read, or was made for another structure."""


class MissingModelError(ModelError, FileNotFoundError):
    """The model's file, or one that holds its weights, is not there."""


class MissingDataError(DataError, FileNotFoundError):
    """The file or folder of calibration or evaluation data is not there."""


class MissingPlanError(PlanError, FileNotFoundError):
    """The plan's file is not there."""


class ConfigError(InputError, ValueError):
    """An option or a spec has a value that cannot be used."""


class OutputError(InputError):
    """The destination cannot be written."""


class UnconvertibleError(InputError, ValueError):
    """The model cannot be converted as requested; the message names the node, the operator and what could help."""


class GateError(AutocastError):
    """The converted model does not reach a required accuracy."""

    exit_code = 3


class BackendError(AutocastError):
    """A runtime (ONNX Runtime, TensorRT) is missing, too old, or fails on a model that is valid."""


class MissingOperatorError(BackendError, InputError):
    """A runtime does not know a custom operator of the model, since nothing gave it the operator's library."""


class VerificationError(AutocastError):
    """Conversion produced an invalid model: a bug in AutoCast Flow, not in the input."""


class ServiceError(AutocastError):
    """A server that the flow needs (S3, MLflow, Prefect) does not answer or refuses; a retry may succeed."""


def came_of(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and those that it came of, the latest first, each once: libraries raise errors from themselves."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def was_interrupted(error: BaseException | None) -> bool:
    """Whether the error came of an interrupt: what is interrupted may stumble over itself."""
    return any(isinstance(each, KeyboardInterrupt) for each in came_of(error))
