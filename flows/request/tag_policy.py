"""What tags in the registry may choose: whoever may set a tag acts with the worker's rights, and need not have them.

Settings of the operator, each empty unless set:

- AUTOCAST_TAG_LOCATIONS: s3:// prefixes, separated by spaces, that tags may name for data, spec files and outputs.
- AUTOCAST_TAG_NAMES: registered names that tags may choose besides those that begin with their own model's name and a
  dash, as patterns (``*`` and ``?``) separated by spaces.
- AUTOCAST_TAG_OPTIONS: names from LOOSENING, separated by spaces, that tags may set too.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any

from autocast_core.errors import ConfigError
from autocast_core.text import visible
from flows.request.spec import Spec

TAG_LOCATIONS, TAG_NAMES, TAG_OPTIONS = "AUTOCAST_TAG_LOCATIONS", "AUTOCAST_TAG_NAMES", "AUTOCAST_TAG_OPTIONS"
LOCATIONS = ("calibration", "evaluation", "output")
NOT_BY_TAG = frozenset(
    {"trt_plugins", "custom_op_libraries", "timing_cache", "isolation", "metric", "keep_default_gates"}
)
"""Options that load code, write to the worker's disk, weaken its isolation or drop gates: not for everyone who may set
tags."""
LOOSENING: Mapping[str, Any] = MappingProxyType(
    {
        "allow_random": False,
        "allow_nonfinite": False,
        "allow_uncalibrated": False,
        "class_outputs": (),
        "validation": "required",
    }
)
"""Options that let a model pass which would be refused, each with the value that does not, and is always allowed."""


@dataclass(frozen=True)
class TagPolicy:
    """The operator's settings; without them tags choose options of the conversion alone."""

    locations: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    options: frozenset[str] = frozenset()

    @staticmethod
    def from_environment(environment: Mapping[str, str] = os.environ) -> TagPolicy:
        """ConfigError names the setting that is invalid."""
        locations = tuple(environment.get(TAG_LOCATIONS, "").split())
        for prefix in locations:
            if not prefix.startswith("s3://") or not prefix.endswith("/"):
                raise ConfigError(
                    f"{TAG_LOCATIONS}: {prefix!r} is not a prefix: write s3://BUCKET/ or s3://BUCKET/KEY/"
                )
        options = frozenset(environment.get(TAG_OPTIONS, "").split())
        if unknown := sorted(options - LOOSENING.keys()):
            raise ConfigError(f"{TAG_OPTIONS}: {unknown[0]!r} is not one of {', '.join(sorted(LOOSENING))}")
        return TagPolicy(locations, tuple(environment.get(TAG_NAMES, "").split()), options)

    def check_location(self, option: str, location: str) -> None:
        """ConfigError where tags may not name `location` for the option."""
        from tasks.storage.uri import S3Location, parse_uri

        if not isinstance(parse_uri(location), S3Location):
            raise ConfigError(f"option {option} is {visible(location)!r}: tags may name s3:// locations only")
        # As it is written: a prefix of the text is a prefix of bucket and key, which are taken literally.
        if not location.startswith(self.locations or ("\0",)):
            raise ConfigError(
                f"option {option}: {visible(location)!r} is outside the locations that tags may name: set it on the"
                f" deployment, or add its prefix to {TAG_LOCATIONS} of the bridge and of reconcile-registry's worker"
            )

    def check_options(self, model: str, given: Collection[str], spec: Spec) -> None:
        """ConfigError where the tags of a version of `model`, which give these options of `spec`, set one that is not
        theirs to set."""
        for option in sorted(NOT_BY_TAG & set(given)):
            raise ConfigError(f"option {option} cannot be set by tags: set it on the deployment, or omit it")
        for option in sorted(LOOSENING.keys() & set(given) - self.options):
            value = getattr(spec, option)
            if value != LOOSENING[option]:
                raise ConfigError(
                    f"option {option} is {value!r}: tags may not loosen what is asked of a model: set it on the"
                    f" deployment, or add it to {TAG_OPTIONS}"
                )
        for option in LOCATIONS:
            location = getattr(spec, option)
            if location:
                self.check_location(option, location)
        name = spec.name
        if name is not None and not (name.startswith(f"{model}-") or any(fnmatchcase(name, one) for one in self.names)):
            raise ConfigError(
                f"option name is {visible(name)!r}: tags may choose names that begin with {model}-, or that"
                f" {TAG_NAMES} allows"
            )
