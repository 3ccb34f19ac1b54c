"""How the suite is run."""

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Tests on real servers share one set of them, so they run in one process."""
    if config.option.markexpr == "integration":
        config.option.numprocesses = 0
