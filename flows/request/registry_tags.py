"""Decides from tags which registered versions are converted, and with which options.

A version's tags override those of its registered model. `autocast.precision` (fp16 | bf16 | fp16,bf16) opts in;
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
from flows.request.tag_policy import TagPolicy
from tasks.tracking.registry.review_tags import APPROVE

PREFIX = "autocast."
OPT_IN = "autocast.precision"
OUTPUT_MARK = "autocast.source_sha256"
"""On every version that AutoCast Flow registered; a version with this tag never starts a conversion."""
OPTIONS = ("calibration", "evaluation", "name")
LONGEST_SPEC = 20_000
"""In characters: enough for every option. What is longer is not parsed."""
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
class ApprovalRequest:
    """Parameter of the flow promote-version: a version whose tag asks for an alias."""

    model: str


@dataclass(frozen=True)
class Skipped:
    """Why there is nothing to do."""

    reason: str


def approval_for(version: VersionTags) -> ApprovalRequest | Skipped:
    """The approval that the version's own tag asks for; whether it may, and the answer, is promote-version's to say."""
    if version.own.get(APPROVE):
        return ApprovalRequest(version.uri)
    return Skipped(f"{version.uri} has no tag {APPROVE}: nothing is asked, or it was answered")


def request_for(
    version: VersionTags, read_spec: Callable[[str], Mapping[str, Any]], policy: TagPolicy
) -> ConversionRequest | Skipped:
    """The conversion that the version's tags request. `read_spec` returns the options in the file at a location;
    `policy` says what tags may choose. Gates of tags hold beside the default ones.

    ServiceError where that file's server does not answer; everything else that is wrong is a reason to skip.
    """
    tags = {**version.of_model, **version.own}
    if OUTPUT_MARK in version.own:
        return Skipped(f"{version.uri} is an output of a conversion")
    if OPT_IN not in tags:
        return Skipped(f"{version.uri} does not opt in: neither it nor its model has the tag {OPT_IN}")
    try:
        values = {
            **_options(tags.get("autocast.spec"), read_spec, policy),
            **{option: tags[PREFIX + option] for option in OPTIONS if PREFIX + option in tags},
            "precision": tags[OPT_IN],
        }
        spec = make_spec(values, f"the tags of {version.uri}")
        policy.check_options(version.name, values.keys(), spec)
    except ServiceError:
        raise
    except AutocastError as error:
        return Skipped(str(error))
    return ConversionRequest(version.uri, {**values, "keep_default_gates": True} if values.get("gates") else values)


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


def _options(text: str | None, read_spec: Callable[[str], Mapping[str, Any]], policy: TagPolicy) -> Mapping[str, Any]:
    if text is None:
        return {}
    if len(text) > LONGEST_SPEC:
        raise ConfigError(f"tag autocast.spec has {len(text):,} characters: give at most {LONGEST_SPEC:,}")
    if not text.lstrip().startswith("{"):
        policy.check_location("spec", text)
        return read_spec(text)
    try:
        return dict(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"tag autocast.spec is not a valid JSON object: {error}") from error
