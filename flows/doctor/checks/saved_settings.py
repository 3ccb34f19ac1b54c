"""The settings file in the user's home."""

from __future__ import annotations

from autocast_core.errors import ConfigError
from flows.doctor.check_result import Results, Surroundings, problem_of, well
from flows.local.user_settings import read_settings, settings_file

_NAME = "settings file"


def saved_settings(around: Surroundings) -> Results:
    """Whether the file can be used. Its values are looked at with those of the environment."""
    path = settings_file(around.environment)
    if path is None:
        return (well(_NAME, "none is read: AUTOCAST_SETTINGS is empty"),)
    try:
        count = len(read_settings(path))
    except ConfigError as error:
        return (problem_of(_NAME, error),)
    return (well(_NAME, f"{path}: {count} settings" if count else f"{path}: nothing is set there"),)
