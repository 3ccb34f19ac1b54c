"""What a request may ask of a service whose machine belongs to someone else.

A deployed run serves a request from an API or a registry and is restricted; a run in the user's own process is not, but
what a file asks is not what the user asks. Settings of the operator or the user: AUTOCAST_ISOLATION (process | none),
AUTOCAST_PLUGIN_FOLDERS (folders, separated as in PATH), AUTOCAST_METRIC_MODULES (Python modules, separated likewise),
AUTOCAST_RUNNERS (names of runners, separated by commas).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from autocast_core.errors import ConfigError
from flows.request.spec import Spec

if TYPE_CHECKING:
    from tasks.isolation import ProcessLimits

PLUGIN_FOLDERS = "AUTOCAST_PLUGIN_FOLDERS"
METRIC_MODULES = "AUTOCAST_METRIC_MODULES"
ISOLATION = "AUTOCAST_ISOLATION"
RUNNERS = "AUTOCAST_RUNNERS"


def limits_for(spec: Spec, *, deployed: bool, environment: Mapping[str, str] = os.environ) -> ProcessLimits | None:
    """The limits of the process that reads and converts untrusted files; None: this process, without limits.

    In a deployment isolation is on, and only the operator can switch it off; elsewhere it is the spec's `isolation`,
    then the operator's, then none. ConfigError where a request asks to switch isolation off, or a setting is invalid.
    """
    from tasks.isolation import ProcessLimits

    setting = environment.get(ISOLATION)
    if setting not in (None, "", "process", "none"):
        raise ConfigError(f"{ISOLATION} is {setting!r}: set it to process or none")
    if deployed:
        chosen = setting or "process"
        if spec.isolation == "none" and chosen == "process":
            raise ConfigError(f"isolation: a request cannot switch it off; the worker's owner can: {ISOLATION}=none")
    else:
        chosen = spec.isolation or setting or "none"
    return ProcessLimits.from_environment(environment) if chosen == "process" else None


def limits_of_a_command(spec: Spec | None = None) -> ProcessLimits | None:
    """The limits of a command that a person gives; without a spec the operator's setting alone decides."""
    return limits_for(spec or Spec(), deployed=False)


def check_plugins(spec: Spec, *, deployed: bool, environment: Mapping[str, str] = os.environ) -> None:
    """ConfigError where a request to a deployment names a library outside the operator's folders: loading one runs its
    code. Links are followed."""
    if not deployed:
        return
    if library := _outside(spec, environment):
        raise ConfigError(
            f"{library} is not in a folder from which this service loads plugins; whoever runs the worker can add its "
            f"folder to {PLUGIN_FOLDERS}"
        )


def _outside(spec: Spec, environment: Mapping[str, str]) -> str | None:
    """The option and the first library that is in none of the folders that may hold plugins, links followed; None:
    there is none."""
    folders = [Path(text).resolve() for text in environment.get(PLUGIN_FOLDERS, "").split(os.pathsep) if text]
    named = [
        *(("trt_plugins", library) for library in spec.trt_plugins),
        *(("custom_op_libraries", library) for library in spec.custom_op_libraries),
    ]
    for option, library in named:
        real = Path(library).resolve()
        if not any(real.is_relative_to(one) for one in folders):
            return f"{option}: {library}"
    return None


def check_metric(metric: str | None, *, deployed: bool, environment: Mapping[str, str] = os.environ) -> None:
    """ConfigError where a request to a deployment names a metric function of a module that its operator does not list:
    importing one runs its code."""
    if deployed and metric is not None and not _is_listed(metric, environment):
        raise ConfigError(
            f"metric: {metric} is not of a module from which this service takes metrics; whoever runs the worker can "
            f"add {_module(metric)} to {METRIC_MODULES}"
        )


def check_runner_allowed(runner: str, *, deployed: bool, environment: Mapping[str, str] = os.environ) -> None:
    """ConfigError for an unknown runner, and where a request to a deployment names a cluster that its operator does not
    list: it would be sent code, and what it answers is unpickled."""
    from tasks.shards.runner import LOCAL, check_name

    check_name(runner)
    listed = environment.get(RUNNERS, "").split(",")
    if deployed and runner not in (LOCAL, *(name.strip() for name in listed)):
        raise ConfigError(
            f"runner: this service does not compute on {runner}; whoever runs the worker can add it to {RUNNERS}"
        )


def check_file_code(
    path: object, spec: Spec, metric: str | None = None, environment: Mapping[str, str] = os.environ
) -> None:
    """ConfigError where the spec, read from the file at `path`, has a module imported or a library loaded that the user
    allows neither by the option `metric` nor by the settings. The file may be a stranger's, as may be the module of
    this name in the current folder."""
    if spec.metric is not None and spec.metric != metric and not _is_listed(spec.metric, environment):
        module = _module(spec.metric)
        raise ConfigError(
            f"{path}: metric: {spec.metric} runs code of the module {module}: if you trust it, give "
            f"--metric {spec.metric}, or add {module} to {METRIC_MODULES}"
        )
    if library := _outside(spec, environment):
        raise ConfigError(
            f"{path}: {library} runs code of that library: if you trust it, add its folder to {PLUGIN_FOLDERS}"
        )


def _is_listed(metric: str, environment: Mapping[str, str]) -> bool:
    return _module(metric) in environment.get(METRIC_MODULES, "").split(os.pathsep)


def _module(metric: str) -> str:
    return metric.partition(":")[0]
