"""What a request may ask of a service whose machine belongs to someone else.

A deployed run serves a request from an API or a registry and is restricted; a run in the user's own process is not. The
operator's settings: AUTOCAST_ISOLATION (process | none), AUTOCAST_PLUGIN_FOLDERS (folders, separated as in PATH) and
AUTOCAST_METRIC_MODULES (Python modules, separated likewise).
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
    folders = [Path(text).resolve() for text in environment.get(PLUGIN_FOLDERS, "").split(os.pathsep) if text]
    for library in spec.trt_plugins:
        real = Path(library).resolve()
        if not any(real.is_relative_to(folder) for folder in folders):
            raise ConfigError(
                f"trt_plugins: {library} is not in a folder from which this service loads plugins; whoever runs the "
                f"worker can add its folder to {PLUGIN_FOLDERS}"
            )


def check_metric(metric: str | None, *, deployed: bool, environment: Mapping[str, str] = os.environ) -> None:
    """ConfigError where a request to a deployment names a metric function of a module that its operator does not list:
    importing one runs its code."""
    if not deployed or metric is None:
        return
    module = metric.partition(":")[0]
    if module not in environment.get(METRIC_MODULES, "").split(os.pathsep):
        raise ConfigError(
            f"metric: {metric} is not of a module from which this service takes metrics; whoever runs the worker can "
            f"add {module} to {METRIC_MODULES}"
        )
