"""Whether the workers of a cluster have this process's versions of all that decides results."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping

from autocast_core.errors import ConfigError
from tasks.tracking.package_versions import versions

Versions = dict[str, str]


def own_versions() -> Versions:
    """Python's version, without its last number, and those of the packages that decide results, by name."""
    return {"Python": ".".join(platform.python_version_tuple()[:2]), **versions()}


def version_reader() -> Callable[[], Versions]:
    """A function that gives a worker's versions. It travels with its code, so that a worker without this project can
    say so."""
    names = tuple(own_versions())

    def read() -> dict[str, str]:
        import platform
        from importlib.metadata import PackageNotFoundError, version

        found = {"Python": ".".join(platform.python_version_tuple()[:2])}
        for name in names[1:]:
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                continue
        return found

    return read


def check_versions(runner: str, found: Mapping[str, Versions]) -> None:
    """ConfigError where a worker's versions (by its address) are not this process's."""
    own = own_versions()
    for worker, theirs in found.items():
        for package, version in own.items():
            if theirs.get(package) != version:
                has = f"{package} {theirs[package]}" if package in theirs else f"no {package}"
                raise ConfigError(
                    f"runner {runner}: worker {worker} has {has}, this process {package} {version}: results would"
                    " differ; install the same versions on every worker"
                )
