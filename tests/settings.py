"""The variables of this process that say which servers are used."""

import os
from contextlib import contextmanager

NAMES = ("PREFECT_", "MLFLOW_", "AWS_", "AUTOCAST_")
"""How they begin."""


NO_KEPT_SERVER = {"AUTOCAST_SERVER_IDLE_SECONDS": "0", "AUTOCAST_SETTINGS": ""}
"""With these, no command leaves a server behind for the next one, and none reads the settings file of the home."""


def clean_environment():
    """Of this process's variables those that a child needs and that name no servers, and NO_KEPT_SERVER."""
    return {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ} | NO_KEPT_SERVER


@contextmanager
def forgotten_settings():
    """Meanwhile this process's variables name no servers; afterwards they are as before."""
    saved = dict(os.environ)
    for name in [name for name in os.environ if name.startswith(NAMES)]:
        del os.environ[name]
    os.environ["AUTOCAST_SETTINGS"] = ""
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)
