"""Decides from tags which registered versions are converted, and with which options.

A version's tags override those of its registered model. `autocast.precision` (fp16 | bf16) opts in;
`autocast.calibration`, `.evaluation`, `.name` and `.spec` (a JSON object, or the s3:// location of a YAML file) add
options.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from autocast_core.errors import AutocastError, ConfigError, ServiceError
from flows.request.spec import make_spec

PREFIX = "autocast."
OPT_IN = "autocast.precision"
OUTPUT_MARK = "autocast.source_sha256"
"""On every version that AutoCast Flow registered; a version with this tag never starts a conversion."""
OPTIONS = ("calibration", "evaluation", "name")
LOCATIONS = ("calibration", "evaluation", "output")
NOT_BY_TAG = frozenset({"trt_plugins", "timing_cache", "isolation", "metric"})
"""Options that load code, write to the worker's disk or weaken its isolation: not for everyone who may set tags."""
REQUEST_TAGS = frozenset({OPT_IN, "autocast.spec", *(PREFIX + option for option in OPTIONS)})
"""Setting one of these on a version requests a conversion; setting any other does not."""


@dataclass(frozen=True)
class VersionTags:
    """A version in the registry with its own tags and those of its registered model."""

    name: str
    version: str
    own: Mapping[str, str]
    of_model: Mapping[str, str]

    @property
    def uri(self) -> str:
        return f"models:/{self.name}/{self.version}"


@dataclass(frozen=True)
class ConversionRequest:
    """Parameters of the flow convert-model; `spec` holds only what the tags say."""

    model: str
    spec: Mapping[str, Any]


@dataclass(frozen=True)
class Skipped:
    """Why there is nothing to convert."""

    reason: str


def request_for(version: VersionTags, read_spec: Callable[[str], Mapping[str, Any]]) -> ConversionRequest | Skipped:
    """The conversion that the version's tags request. `read_spec` returns the options in the file at a location.

    ServiceError where that file's server does not answer; everything else that is wrong is a reason to skip.
    """
    tags = {**version.of_model, **version.own}
    if OUTPUT_MARK in version.own:
        return Skipped(f"{version.uri} is an output of a conversion")
    if OPT_IN not in tags:
        return Skipped(f"{version.uri} does not opt in: neither it nor its model has the tag {OPT_IN}")
    try:
        values = {
            **_options(tags.get("autocast.spec"), read_spec),
            **{option: tags[PREFIX + option] for option in OPTIONS if PREFIX + option in tags},
            "precision": tags[OPT_IN],
        }
        make_spec(values, f"the tags of {version.uri}")
        _check_reach(values)
    except ServiceError:
        raise
    except AutocastError as error:
        return Skipped(str(error))
    return ConversionRequest(version.uri, values)


def _check_reach(values: Mapping[str, Any]) -> None:
    """ConfigError where tags would make the worker read, write or load something of its own machine."""
    from tasks.storage.uri import S3Location, parse_uri

    for option in sorted(NOT_BY_TAG & values.keys()):
        raise ConfigError(f"option {option} cannot be set by tags: set it on the deployment, or omit it")
    for option in LOCATIONS:
        if values.get(option) and not isinstance(parse_uri(values[option]), S3Location):
            raise ConfigError(f"option {option} is {values[option]!r}: tags may name s3:// locations only")


def read_spec_file(location: str) -> Mapping[str, Any]:
    """The options in the YAML file at the s3:// `location`. InputError and ServiceError as fetching; what is too
    large for options is not fetched.

    Whoever may set tags must not make this process read its own machine's files: ConfigError for any other location.
    """
    from flows.local.home import home
    from flows.request.yaml_file import MOST_BYTES, read_yaml
    from tasks.storage.data import fetch_data
    from tasks.storage.uri import S3Location, parse_uri

    if not isinstance(parse_uri(location), S3Location):
        raise ConfigError(f"tag autocast.spec is {location!r}: give a JSON object or the s3:// location of a YAML file")
    return read_yaml(fetch_data(location, home().cache, most_bytes=MOST_BYTES).path)[0]


def _options(text: str | None, read_spec: Callable[[str], Mapping[str, Any]]) -> Mapping[str, Any]:
    if text is None:
        return {}
    if not text.lstrip().startswith("{"):
        return read_spec(text)
    try:
        return dict(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"tag autocast.spec is not a valid JSON object: {error}") from error
