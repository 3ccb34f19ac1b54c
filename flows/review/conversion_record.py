"""What the registry and the tracking server hold of a conversion: its version, its run, and the spec of the run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from autocast_core.errors import InputError
from flows.request.spec import Spec, make_spec
from tasks.storage.model_registry import resolve_tracking_uri
from tasks.tracking.reading import RunRecord, VersionRecord, read_run, read_version

_REQUIRED_TAGS = ("autocast.source", "autocast.source_sha256", "autocast.output_sha256", "autocast.precision")


def read_conversion(uri: str) -> tuple[VersionRecord, RunRecord]:
    """The version at `uri` and its run. InputError where AutoCast Flow did not register it, or its run is gone."""
    tracking = resolve_tracking_uri()
    version = read_version(tracking, uri)
    missing = [tag for tag in _REQUIRED_TAGS if tag not in version.tags]
    if missing or not version.run_id:
        raise InputError(
            f"{version} was not registered by AutoCast Flow: it has no {f'tag {missing[0]}' if missing else 'run'}"
        )
    return version, read_run(tracking, version.run_id)


def spec_of(run: RunRecord) -> Spec:
    """The spec that the run's parameters hold. ConfigError where they are not valid."""
    kinds = Spec.model_json_schema()["properties"]
    given = {name: _value(text, kinds[name]) for name, text in run.params.items() if name in kinds}
    return make_spec(given, f"the parameters of run {run.run_id}")


def _value(text: str, kind: Mapping[str, Any]) -> Any:
    if {one.get("type") for one in kind.get("anyOf", (kind,))} <= {"string", "null"}:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
