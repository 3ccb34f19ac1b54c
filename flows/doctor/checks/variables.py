"""The AUTOCAST_ variables: values that cannot be used, and names that do not exist."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from autocast_core.errors import ConfigError
from autocast_core.text import visible
from flows.conversion.gpu_pool_settings import gpu_pool
from flows.doctor.check_result import CheckResult, Results, Surroundings, problem, problem_of, warning, well
from flows.doctor.http_server import is_http
from flows.local.embedded_server import idle_seconds_of
from flows.local.user_settings import LOCATION
from flows.request.policy import METRIC_MODULES, PLUGIN_FOLDERS, RUNNERS, limits_for
from flows.request.spec import Spec
from flows.request.tag_policy import TagPolicy
from flows.review.aliases import enforced
from tasks.isolation import ProcessLimits
from tasks.json_log import VARIABLE as LOG_FORMAT
from tasks.json_log import formatter
from tasks.settings import positive_number
from tasks.storage.cache_limit import limit_from_environment

_NAME = "settings"
_PREFIX = "AUTOCAST_"
_NOTIFY = "AUTOCAST_NOTIFY_URL"
_OF_BRIDGE = tuple(
    f"AUTOCAST_BRIDGE_{name}" for name in ("TOLERANCE_SECONDS", "MAX_BYTES", "RETRY_AFTER_SECONDS", "PER_SECOND")
)
KNOWN = frozenset(
    {
        *_OF_BRIDGE,
        "AUTOCAST_APPROVAL_ALIASES",
        "AUTOCAST_BRIDGE_URL",
        "AUTOCAST_CACHE",
        "AUTOCAST_CACHE_BYTES",
        "AUTOCAST_ENFORCE_ALIASES",
        "AUTOCAST_GPU_DEPLOYMENT",
        "AUTOCAST_GPU_WAIT_SECONDS",
        "AUTOCAST_HOME",
        "AUTOCAST_ISOLATION",
        "AUTOCAST_ISOLATION_FILE_BYTES",
        "AUTOCAST_ISOLATION_MEMORY_BYTES",
        "AUTOCAST_ISOLATION_SECONDS",
        LOG_FORMAT,
        METRIC_MODULES,
        _NOTIFY,
        PLUGIN_FOLDERS,
        "AUTOCAST_RESULT_STORAGE",
        RUNNERS,
        "AUTOCAST_SERVER_IDLE_SECONDS",
        LOCATION,
        "AUTOCAST_SIGNING_KEY",
        "AUTOCAST_SIGNING_PASSWORD",
        "AUTOCAST_STAGING",
        "AUTOCAST_TAG_LOCATIONS",
        "AUTOCAST_TAG_NAMES",
        "AUTOCAST_TAG_OPTIONS",
        "AUTOCAST_TRACEBACK",
        "AUTOCAST_TRUSTED_KEY",
        "AUTOCAST_UNPUBLISHED_BYTES",
        "AUTOCAST_WEBHOOK_SECRET",
        "AUTOCAST_WEBHOOK_SECRET_PREVIOUS",
    }
)
"""Those of infra/docs/settings.md."""


def variables(around: Surroundings) -> Results:
    """Whether each variable exists, and its value is one that can be used, by what reads it."""
    known = around.environment
    results = [*_unknown(known), *_without_effect(known)]
    for read in _readers():
        try:
            read(known)
        except ConfigError as error:
            result = problem_of(_NAME, error)
            results += [] if result in results else [result]
    count = len(KNOWN & known.keys())
    return tuple(results) or (well(_NAME, f"{count} of {len(KNOWN)} {_PREFIX} variables are set"),)


def _readers() -> tuple[Callable[[Mapping[str, str]], object], ...]:
    """What reads variables; each raises ConfigError for a value that cannot be used."""
    return (
        idle_seconds_of,
        limit_from_environment,
        ProcessLimits.from_environment,
        lambda known: limits_for(Spec(), deployed=False, environment=known),
        TagPolicy.from_environment,
        enforced,
        gpu_pool,
        formatter,
        *(partial(positive_number, name=name, default=1.0) for name in _OF_BRIDGE),
    )


def _unknown(known: Mapping[str, str]) -> Iterator[CheckResult]:
    for name in sorted(known):
        if not name.startswith(_PREFIX) or name in KNOWN:
            continue
        what = f"{visible(name)} is not a setting of AutoCast Flow"
        if near := get_close_matches(name, sorted(KNOWN), 1, 0.8):
            yield problem(_NAME, what, f"rename it to {near[0]}, or unset it")
        else:
            yield warning(_NAME, what, "unset it; infra/docs/settings.md lists all settings")


def _without_effect(known: Mapping[str, str]) -> Iterator[CheckResult]:
    """Values that are read without complaint, and do nothing. Addresses of notifications are secret, often."""
    if known.get(_NOTIFY) and not is_http(known[_NOTIFY]):
        yield problem(_NAME, f"{_NOTIFY} is not an http(s) address", "write it with http:// or https://")
    for folder in filter(None, known.get(PLUGIN_FOLDERS, "").split(os.pathsep)):
        if not Path(folder).is_dir():
            remedy = f"make it, or take it out; folders are separated by {os.pathsep!r}"
            yield problem(_NAME, f"{PLUGIN_FOLDERS}: there is no folder {visible(folder)}", remedy)
    for module in filter(None, known.get(METRIC_MODULES, "").split(os.pathsep)):
        if not _is_there(module.partition(".")[0]):
            remedy = f"install it, or put its folder on PYTHONPATH; modules are separated by {os.pathsep!r}"
            yield problem(_NAME, f"{METRIC_MODULES}: there is no module {visible(module)}", remedy)


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False
