"""Tags of a registered version that its review writes: a person asks by one, and AutoCast Flow answers by the others.

None of them is part of what a proof attests, and none counts when gates are checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial

from tasks.tracking.reading import VersionRecord
from tasks.tracking.store import existing_store, retry_conflicts, tracking_errors

APPROVE = "autocast.approve"
"""Set by a person; its value is the alias that is asked for. Removed once it is answered."""
APPROVAL = "autocast.approval"
"""The answer: APPROVED or REFUSED."""
APPROVAL_REASON = "autocast.approval_reason"
APPROVED, REFUSED = "approved", "refused"
UNCHECKED = "autocast.alias_unchecked"
"""An alias that was set although the checks of a promotion do not hold, and why they do not."""
_CHECKED = "autocast.alias_checked."
_LINE = "**Approval:** "


def checked_tag(alias: str) -> str:
    """The tag of a version whose value is when it passed the checks for this alias (ISO 8601, UTC)."""
    return _CHECKED + alias


def is_review_tag(name: str) -> bool:
    """Whether the review writes the tag of this name."""
    return name in (APPROVE, APPROVAL, APPROVAL_REASON, UNCHECKED) or name.startswith(_CHECKED)


def record_checked(tracking_uri: str, version: VersionRecord, alias: str) -> None:
    """Writes on the version that it passed the checks for the alias now, and that nothing is unchecked any more."""
    client = existing_store(tracking_uri)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with tracking_errors(tracking_uri):
        retry_conflicts(lambda: client.set_model_version_tag(version.name, version.version, checked_tag(alias), now))
        if UNCHECKED in version.tags:
            client.delete_model_version_tag(version.name, version.version, UNCHECKED)


def record_unchecked(tracking_uri: str, version: VersionRecord, text: str) -> None:
    """Flags the version; nothing is written where it says the same already."""
    if version.tags.get(UNCHECKED) != text:
        client = existing_store(tracking_uri)
        with tracking_errors(tracking_uri):
            retry_conflicts(lambda: client.set_model_version_tag(version.name, version.version, UNCHECKED, text))


def record_approval(tracking_uri: str, version: VersionRecord, answer: Mapping[str, str], line: str) -> None:
    """Writes the tags of the `answer` and the Markdown `line` on the version, and last removes what was asked.

    What somebody asked for meanwhile stays.
    """
    client = existing_store(tracking_uri)
    with tracking_errors(tracking_uri):
        for name, value in answer.items():
            retry_conflicts(partial(client.set_model_version_tag, version.name, version.version, name, value))
        found = client.get_model_version(version.name, version.version)
        client.update_model_version(version.name, version.version, with_line(found.description or "", line))
        if APPROVE in found.tags and found.tags[APPROVE] == version.tags.get(APPROVE):
            client.delete_model_version_tag(version.name, version.version, APPROVE)


def with_line(description: str, line: str) -> str:
    """The description with the line about its approval as its first paragraph, in place of an earlier one: MLflow's UI
    folds what follows."""
    first, _, rest = description.partition("\n\n")
    kept = rest if first.startswith(_LINE) else description
    return f"{_LINE}{line}\n\n{kept}".rstrip("\n") if kept else f"{_LINE}{line}"
