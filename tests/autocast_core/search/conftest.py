"""The planted model, built once."""

import pytest

from tests.autocast_core.search.planted import planted_model


@pytest.fixture(scope="session")
def planted():
    """(model, data) whose only sensitive nodes are planted.SENSITIVE."""
    return planted_model()
