"""The settings file in the user's home: variables that commands take where the environment does not set them.

Only this one file is read, never one of the current folder, which may be anyone's.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
import tomllib
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from autocast_core.errors import ConfigError, OutputError
from flows.local.own_files import open_own_file

LOCATION = "AUTOCAST_SETTINGS"
"""The variable that names another file, or, when it is empty, none."""
PREFIXES = ("AUTOCAST_", "AWS_", "MLFLOW_", "PREFECT_")
"""How the names of settings begin. Others, as PATH or PYTHONPATH, decide what code is run."""
_SERVERS = (
    (("PREFECT_API_URL",), ("PREFECT_API_",)),
    (("MLFLOW_TRACKING_URI",), ("MLFLOW_TRACKING_",)),
    (("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_PROFILE"), ("AWS_",)),
)
"""Variables that name a server or who asks it, and how those begin that belong to it: credentials, above all."""


def settings_file(environment: Mapping[str, str]) -> Path | None:
    """``$AUTOCAST_SETTINGS``, else ``autocast/settings.toml`` below ``$XDG_CONFIG_HOME``, else below ``~/.config``.

    None where AUTOCAST_SETTINGS is set and empty.
    """
    if LOCATION in environment:
        return Path(environment[LOCATION]) if environment[LOCATION] else None
    base = environment.get("XDG_CONFIG_HOME", "")
    folder = Path(base) if Path(base).is_absolute() else Path.home() / ".config"
    return folder / "autocast" / "settings.toml"


def read_settings(path: Path) -> dict[str, str]:
    """The variables in the file by their names; none where there is no file.

    ConfigError where it is a link, another user's, may be written by others, or is not a file of settings.
    """
    try:
        with open_own_file(path) as file:
            if os.fstat(file.fileno()).st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise ConfigError(f"{path}: others may write it: chmod 600 it")
            found = tomllib.loads(file.read())
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as this user's settings file: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f'{path}: {error}; write lines such as MLFLOW_TRACKING_URI = "http://…"') from error
    for name, value in found.items():
        if not name.startswith(PREFIXES):
            raise ConfigError(f"{path}: {name} is not a setting: names begin with {', '.join(PREFIXES)}")
        if isinstance(value, dict | list | bool) or "\0" in str(value):
            raise ConfigError(f"{path}: {name}: give a string or a number")
    return {name: str(value) for name, value in found.items()}


def apply_settings_file(environment: MutableMapping[str, str]) -> None:
    """Sets what the settings file has and `environment` has not. ConfigError as `read_settings`.

    Where `environment` names a server, nothing of the file that belongs to the file's server is taken: its credentials
    must not be sent to another one.
    """
    path = settings_file(environment)
    if path is None:
        return
    settings = read_settings(path)
    for servers, beginnings in _SERVERS:
        if any(name in environment for name in servers):
            settings = {name: value for name, value in settings.items() if not name.startswith(beginnings)}
    for name, value in settings.items():
        environment.setdefault(name, value)


def write_settings(path: Path, settings: Mapping[str, str]) -> None:
    """Writes the settings to the file, beside those that it has, which only this user may read then. Where they name
    another server, the old one's credentials go.

    ConfigError where there is something that is not a settings file, OutputError where it cannot be written.
    """
    merged = {**_of_same_servers(read_settings(path), settings), **settings}
    lines = [
        "# Settings of `autocast` commands, for what the environment does not set: see infra/docs/settings.md.\n",
        # JSON's texts are TOML's.
        *(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in sorted(merged.items())),
    ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Made for this user alone, and renamed, so that no command reads half of it.
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with open(descriptor, "w", encoding="utf-8") as file:
            file.writelines(lines)
        Path(name).replace(path)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror}): set {LOCATION} to a file of your own"
        ) from error


def _of_same_servers(known: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    """Of `known` what belongs to no server that `new` replaces by another."""
    kept = dict(known)
    for servers, beginnings in _SERVERS:
        if any(name in new and new[name] != known.get(name) for name in servers):
            kept = {name: value for name, value in kept.items() if not name.startswith(beginnings)}
    return kept
