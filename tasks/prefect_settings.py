"""Keeps Prefect from reading settings that lie in the current folder: they can name files of which it runs the content.

Prefect has no switch for `.env`, `prefect.toml` and `pyproject.toml`; the two files below its home folder that can be
moved, profiles and the logging configuration, are moved by variables.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

_MODULE = "prefect.settings.base"


def own_files_only(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables with which Prefect reads its own logging configuration, and profiles below the user's home folder only.

    Empty for what `environment` sets already.
    """
    package = find_spec("prefect")
    assert package is not None and package.origin is not None
    names: dict[str, str] = {}
    if not environment.keys() & {"PREFECT_LOGGING_CONFIG_PATH", "PREFECT_LOGGING_SETTINGS_PATH"}:
        names["PREFECT_LOGGING_CONFIG_PATH"] = str(Path(package.origin).with_name("logging") / "logging.yml")
    if "PREFECT_PROFILES_PATH" not in environment:
        names["PREFECT_PROFILES_PATH"] = str(Path.home() / ".prefect" / "profiles.toml")
    return names


def ignore_settings_files() -> None:
    """From now on no settings of this process are read from the current folder. To be called before Prefect is
    imported, which reads them then; later, what it has read stays."""
    if _MODULE in sys.modules:
        _without_files(sys.modules[_MODULE])
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Changes Prefect's sources of settings between their import and the first settings."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _MODULE:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                _without_files(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _without_files(module: ModuleType) -> None:
    """Replaces the module's sources of settings by such that find nothing."""
    names = ("FilteredDotEnvSettingsSource", "PrefectTomlConfigSettingsSource", "PyprojectTomlConfigSettingsSource")
    for name in names:
        source: Any = getattr(module, name)
        if not hasattr(source, "reads_nothing"):
            setattr(module, name, type(name, (source,), _NO_FILES))


def _read_files(self: Any, *_: Any, **options: Any) -> dict[str, Any]:
    return {}


_NO_FILES = {"reads_nothing": True, "_read_files": _read_files, "_read_env_files": _read_files}
"""Of pydantic-settings' sources: what reads TOML files, and what reads `.env`."""
