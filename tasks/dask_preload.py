"""What each process that Dask starts for a fleet runs first: no settings are read from the current folder there either,
and where a command started it, its messages go to the command's log file.

See https://docs.dask.org/en/latest/how-to/customize-initialization.html#preload-scripts
"""

from __future__ import annotations

import os

from tasks.prefect_settings import ignore_settings_files

LOG_VARIABLE = "DASK_AUTOCAST_LOG"
"""Names the log file."""


def dask_setup(_: object) -> None:
    """Dask calls this before the process takes work, and so before it imports Prefect."""
    ignore_settings_files()
    if log := os.environ.get(LOG_VARIABLE):
        # All of it: Prefect's, MLflow's and native code's.
        file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.dup2(file, 2)
        os.close(file)
