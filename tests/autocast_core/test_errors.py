"""Which of Python's exceptions errors are, too, and that exit codes do not change with it."""

import pickle

import pytest

from autocast_core import errors
from autocast_core.errors import (
    BackendError,
    ConfigError,
    DataError,
    GateError,
    MissingDataError,
    MissingModelError,
    MissingPlanError,
    ModelError,
    OutputError,
    PlanError,
    UnconvertibleError,
    VerificationError,
)


@pytest.mark.parametrize("kind", [ModelError, DataError, PlanError, ConfigError, UnconvertibleError])
def test_what_was_given_wrongly_is_a_value_error(kind):
    assert issubclass(kind, ValueError) and kind.exit_code == 2


@pytest.mark.parametrize(
    ("kind", "parent"), [(MissingModelError, ModelError), (MissingDataError, DataError), (MissingPlanError, PlanError)]
)
def test_a_missing_file_is_a_file_not_found_error(kind, parent):
    assert issubclass(kind, FileNotFoundError) and issubclass(kind, parent) and kind.exit_code == 2


@pytest.mark.parametrize(
    ("kind", "code"), [(OutputError, 2), (GateError, 3), (BackendError, 1), (VerificationError, 1)]
)
def test_other_errors_are_neither(kind, code):
    assert not issubclass(kind, ValueError | OSError) and kind.exit_code == code


@pytest.mark.parametrize("name", [name for name in vars(errors) if name.endswith("Error")])
def test_an_error_says_its_message_on_one_line_and_can_be_sent_to_another_process(name):
    error = getattr(errors, name)("a\nb: missing")
    assert str(error) == str(pickle.loads(pickle.dumps(error))) == "a\\nb: missing"


@pytest.mark.parametrize("name", [name for name in vars(errors) if name.endswith("Error")])
def test_a_class_makes_its_errors_itself_too_as_dask_does_with_those_of_its_workers(name):
    kind = getattr(errors, name)
    assert kind.__new__(kind, "a\nb: missing").args == ("a\nb: missing",)


def test_what_an_error_came_of_ends_where_a_library_raised_it_from_itself():
    cause, error = OSError("full"), RuntimeError("cannot write")
    error.__cause__, cause.__context__ = cause, error
    assert list(errors.came_of(error)) == [error, cause]
    error.__cause__ = error
    assert list(errors.came_of(error)) == [error]
    assert list(errors.came_of(None)) == []
