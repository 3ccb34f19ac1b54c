"""Which failures of a task are worth another try."""

import pytest
from prefect.states import Failed

from autocast_core.errors import InputError, ServiceError
from tasks.prefect.retries import is_transient


def came_of(cause):
    error = ServiceError("the database is locked")
    error.__context__ = cause
    return error


@pytest.mark.parametrize(
    "error, worth_it",
    [(came_of(OSError()), True), (InputError("invalid"), False), (came_of(KeyboardInterrupt()), False)],
    ids=["a server that does not answer", "bad input", "what became of an interrupt"],
)
def test_a_task_is_tried_again_where_a_server_failed_and_nobody_interrupted_it(error, worth_it):
    assert is_transient(None, None, Failed(data=error)) is worth_it
