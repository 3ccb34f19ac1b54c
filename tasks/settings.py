"""Settings from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from autocast_core.errors import ConfigError

RESULT_BLOCK_VARIABLE = "PREFECT_RESULTS_DEFAULT_STORAGE_BLOCK"
"""With it Prefect is told where results of runs go."""
RESULT_BLOCK = "autocast-s3-results/autocast"
"""Its value where they go to S3: the type and the name of the block (tasks.prefect.result_storage)."""


def home_folder(environment: Mapping[str, str]) -> Path:
    """AUTOCAST_HOME, else ``.autocast`` in the current folder: where everything kept on this machine lies."""
    return Path(environment.get("AUTOCAST_HOME") or ".autocast")


def positive_number(environment: Mapping[str, str], name: str, default: float) -> float:
    """The variable `name`, by default `default`. ConfigError where it is not a positive number below 1e18."""
    text = environment.get(name)
    try:
        value = default if text is None else float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e18:
        raise ConfigError(f"{name} is {text!r}: give a positive number")
    return value
