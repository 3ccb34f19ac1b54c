"""The attestation of a conversion: an in-toto statement of what it read, made, measured and decided.

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.tracking.reading import RunRecord, VersionRecord
from tasks.tracking.registry.model_versions import SUMMARY_TAGS
from tasks.tracking.registry.review_tags import is_review_tag

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:autocast-flow:conversion:1"
_OURS = "autocast."


@dataclass(frozen=True)
class PublishedConversion:
    """What a tracking server and a registry hold of a conversion: digests are sha256 in hex, by relative path."""

    version: VersionRecord
    run: RunRecord
    files: Mapping[str, str]
    """The files of the registered version."""
    artifacts: Mapping[str, str]
    """The run's artifacts, without the proof itself."""


@dataclass(frozen=True)
class AttestedDifference:
    """Something that is not as it was attested; None: it is missing, or was not there."""

    what: str
    attested: str | None
    found: str | None


def statement(published: PublishedConversion) -> dict[str, Any]:
    """The statement about a conversion as it is now: plain values."""
    subject = [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(published.files.items())]
    return {"_type": STATEMENT, "subject": subject, "predicateType": PREDICATE, "predicate": _predicate(published)}


def differences(attested: Any, published: PublishedConversion) -> Iterator[AttestedDifference]:
    """What differs between a statement that was signed and the conversion as it is now.

    Files and artifacts that were added are differences of a version's files only: a run may get further reports.
    """
    try:
        kind, predicate = attested["predicateType"], attested["predicate"]
        files = {each["name"]: each["digest"]["sha256"] for each in attested["subject"]}
    except (KeyError, TypeError):
        kind, predicate, files = None, {}, {}
    if kind != PREDICATE or not isinstance(predicate, dict):
        yield AttestedDifference("kind of the attestation", PREDICATE, str(kind))
        return
    now = _predicate(published)
    yield from _compared("file", files, published.files)
    yield from _compared("artifact", predicate.get("artifacts"), now["artifacts"], additions=False)
    for name in ("registered", "materials", "parameters", "metrics", "run_tags", "version_tags"):
        yield from _compared(name.replace("_", " "), predicate.get(name), now[name])


def _predicate(published: PublishedConversion) -> dict[str, Any]:
    version, run = published.version, published.run
    return {
        "registered": {"version": str(version), "run": run.run_id},
        # The source, its data, and where they were.
        "materials": {name: f"{run.places.get(name, '')} sha256:{digest}" for name, digest in run.inputs.items()},
        "parameters": dict(run.params),
        # Every digit counts, and JSON has no NaN.
        "metrics": {name: repr(float(value)) for name, value in run.metrics.items()},
        "run_tags": _ours(run.tags),
        "version_tags": _ours(version.tags),
        "artifacts": dict(published.artifacts),
    }


def _ours(tags: Mapping[str, str]) -> dict[str, str]:
    """Those of the conversion: a version is signed before it is reviewed."""
    return {
        name: value
        for name, value in tags.items()
        if (name.startswith(_OURS) or name in SUMMARY_TAGS) and not is_review_tag(name)
    }


def _compared(
    kind: str, attested: Any, found: Mapping[str, str], *, additions: bool = True
) -> Iterator[AttestedDifference]:
    known: Mapping[str, Any] = attested if isinstance(attested, dict) else {}
    for name in sorted(known.keys() | found.keys() if additions else known.keys()):
        if known.get(name) != found.get(name):
            yield AttestedDifference(f"{kind} {name}", known.get(name), found.get(name))
