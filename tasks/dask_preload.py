"""What each process that Dask starts for a fleet runs first: no settings are read from the current folder there either.

See https://docs.dask.org/en/latest/how-to/customize-initialization.html#preload-scripts
"""

from __future__ import annotations

from tasks.prefect_settings import ignore_settings_files


def dask_setup(_: object) -> None:
    """Dask calls this before the process takes work, and so before it imports Prefect."""
    ignore_settings_files()
