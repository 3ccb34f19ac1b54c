"""Approval by a tag: whoever may set tags asks for an alias, and the gated promotion decides.

The tag asks and never loosens: gates, digests and AUTOCAST_TRUSTED_KEY hold as for `autocast promote`. The operator's
setting AUTOCAST_APPROVAL_ALIASES lists the aliases that may be asked for, separated by spaces; unset, none.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from autocast_core.errors import AutocastError, ConfigError, OutputError, ServiceError
from autocast_core.text import one_line, visible
from flows.local.home import Home
from flows.proof.keys import trusted_key
from flows.review.promotion import promote
from tasks.storage.model_registry import resolve_tracking_uri
from tasks.tracking.reading import VersionRecord, read_version
from tasks.tracking.registry.review_tags import APPROVAL, APPROVAL_REASON, APPROVE, APPROVED, REFUSED, record_approval
from tasks.tracking.store import all_found, tracking_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient

APPROVAL_ALIASES = "AUTOCAST_APPROVAL_ALIASES"
_LONGEST = 500
"""Of a reason, in characters: a tag and a line are read at a glance."""


@dataclass(frozen=True)
class Approval:
    """What was asked for and how it was answered."""

    model: str
    alias: str
    approved: bool
    reason: str

    @property
    def outcome(self) -> str:
        """The answer in a word: APPROVED or REFUSED."""
        return APPROVED if self.approved else REFUSED

    def __str__(self) -> str:
        return f"{self.model}: {self.alias} {self.outcome}: {self.reason}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def answer_approval(uri: str, home: Home, environment: Mapping[str, str] = os.environ) -> Approval | None:
    """Answers what the tag `autocast.approve` of the version at `uri` asks for, and writes the answer on the version;
    None: it asks for nothing, or was answered before.

    ServiceError, OutputError, and ConfigError of AUTOCAST_TRUSTED_KEY are not the version's fault: the tag stays.
    InputError where there is no such version.
    """
    version = read_version(resolve_tracking_uri(), uri)
    alias = version.tags.get(APPROVE)
    return _answer(version, alias, home, environment) if alias else None


def approve(uri: str, alias: str, home: Home, environment: Mapping[str, str] = os.environ) -> Approval:
    """Answers somebody who asks for `alias` on the version at `uri` in another way than by its tag; as
    `answer_approval`."""
    return _answer(read_version(resolve_tracking_uri(), uri), alias, home, environment)


def _answer(version: VersionRecord, alias: str, home: Home, environment: Mapping[str, str]) -> Approval:
    trusted_key(environment)
    try:
        _check_alias(alias, environment)
        promote(str(version), alias, home)
        found = Approval(str(version), alias, True, "its files and gates were checked again")
    except (ServiceError, OutputError):
        raise
    except AutocastError as error:
        found = Approval(str(version), alias, False, one_line(error, _LONGEST))
    _write(resolve_tracking_uri(), version, found)
    return found


def asked_versions(client: MlflowClient) -> list[str]:
    """The URIs of all versions that ask for an approval, as `answer_approval` takes them."""
    tracking = resolve_tracking_uri()
    with tracking_errors(tracking):
        found = all_found(client.search_model_versions, f"tags.`{APPROVE}` != ''")
        return [f"models:/{one.name}/{one.version}" for one in found]


def _check_alias(alias: str, environment: Mapping[str, str]) -> None:
    allowed = environment.get(APPROVAL_ALIASES, "").split()
    if alias not in allowed:
        may = f"it allows {', '.join(allowed)}" if allowed else "it allows none"
        raise ConfigError(
            f"alias {visible(alias)} may not be asked for by a tag: {may}: add it to {APPROVAL_ALIASES} of the workers,"
            " or use `autocast promote`"
        )


def _write(tracking: str, version: VersionRecord, found: Approval) -> None:
    from autocast_core.report.text import markdown

    at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    reason = f"{visible(found.alias)}: {found.reason}"
    line = f"{markdown(visible(found.alias))} **{found.outcome}**, {at}: {markdown(found.reason, _LONGEST)}"
    record_approval(tracking, version, {APPROVAL: found.outcome, APPROVAL_REASON: reason}, line)
