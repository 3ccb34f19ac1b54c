"""Aliases of converted models against the checks of a promotion: MLflow's UI sets an alias without asking anything.

Versions that AutoCast Flow did not register are left alone, and so is the alias that registration sets. With
AUTOCAST_ENFORCE_ALIASES=1 an alias whose version does not pass goes back to the version that passed last, else it is
removed, and a version's own tag that it passed is not believed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autocast_core.errors import AutocastError, ConfigError, OutputError, ServiceError
from autocast_core.text import one_line
from flows.local.home import Home
from flows.proof.keys import trusted_key
from flows.request.registry_tags import OUTPUT_MARK
from flows.review.promotion import check_promotion, promote
from tasks.storage.model_registry import resolve_tracking_uri
from tasks.tracking.reading import VersionRecord, read_version
from tasks.tracking.registry.model_versions import CANDIDATE
from tasks.tracking.registry.review_tags import checked_tag, record_checked, record_unchecked
from tasks.tracking.store import all_found, tracking_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOG = logging.getLogger(__name__)
ENFORCE = "AUTOCAST_ENFORCE_ALIASES"


@dataclass(frozen=True)
class UncheckedAlias:
    """An alias on a version that does not pass; `taken_back`: the alias is no longer there."""

    model: str
    alias: str
    reason: str
    taken_back: bool


def enforced(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether aliases are taken back. ConfigError where the setting is invalid."""
    setting = environment.get(ENFORCE) or "0"
    if setting not in ("0", "1"):
        raise ConfigError(f"{ENFORCE} is {setting!r}: set it to 1 or 0")
    return setting == "1"


def check_aliases(client: MlflowClient, home: Home, *, enforce: bool) -> Iterator[UncheckedAlias]:
    """Checks every alias of a converted model that was not set by a promotion, flags those that do not pass, and with
    `enforce` takes them back.

    ServiceError, OutputError, and ConfigError of AUTOCAST_TRUSTED_KEY: nothing more is checked.
    """
    trusted_key()
    tracking = resolve_tracking_uri()
    for name in sorted(_converted_models(client, tracking)):
        with tracking_errors(tracking):
            aliases = _aliases(client, name)
        for number in sorted(set(aliases.values()), key=int):
            mine = sorted(alias for alias, version in aliases.items() if version == number and alias != CANDIDATE)
            try:
                version = read_version(tracking, f"models:/{name}/{number}")
                found = [one for alias in mine if (one := _checked(version, alias, home, enforce))]
            except (ServiceError, OutputError):
                raise
            except AutocastError as error:
                # One name that nobody can address must not keep the others from their checks.
                LOG.warning("version %s of %r is left out: %s", number, name, one_line(error))
                continue
            if enforce:
                found = [_acted_on(client, version, one, home) for one in found]
            if found:
                record_unchecked(tracking, version, "; ".join(f"{one.alias}: {one.reason}" for one in found))
            yield from found


def _checked(version: VersionRecord, alias: str, home: Home, enforce: bool) -> UncheckedAlias | None:
    if OUTPUT_MARK not in version.tags or (checked_tag(alias) in version.tags and not enforce):
        return None
    try:
        check_promotion(str(version), alias, home)
    except (ServiceError, OutputError):
        raise
    except AutocastError as error:
        return UncheckedAlias(str(version), alias, one_line(error, 400), False)
    if checked_tag(alias) not in version.tags:
        record_checked(resolve_tracking_uri(), version, alias)
    return None


def _acted_on(client: MlflowClient, version: VersionRecord, found: UncheckedAlias, home: Home) -> UncheckedAlias:
    """Points the alias at the version that passed last and still does, else removes it."""
    tracking, alias = resolve_tracking_uri(), found.alias
    with tracking_errors(tracking):
        if _aliases(client, version.name).get(alias) != version.version:
            # Somebody moved it meanwhile: that one is checked the next time.
            return found
    for earlier in _passed_before(client, version, alias):
        try:
            promote(earlier, alias, home)
        except (ServiceError, OutputError):
            raise
        except AutocastError as error:
            LOG.warning("alias %r is not put back on %s: %s", alias, earlier, one_line(error))
            continue
        now = f"it points at {earlier} again"
        break
    else:
        with tracking_errors(tracking):
            client.delete_registered_model_alias(version.name, alias)
        now = "it was removed"
    return UncheckedAlias(found.model, alias, f"{found.reason}; taken back: {now}", True)


def _aliases(client: MlflowClient, name: str) -> dict[str, str]:
    """The version of each alias; some stores give numbers."""
    return {alias: str(version) for alias, version in client.get_registered_model(name).aliases.items()}


def _passed_before(client: MlflowClient, version: VersionRecord, alias: str) -> list[str]:
    """Other versions of the model that passed for the alias, the last one first."""
    tag = checked_tag(alias)
    with tracking_errors(resolve_tracking_uri()):
        found = list(all_found(client.search_model_versions, f"tags.`{tag}` != ''"))
    mine = [one for one in found if one.name == version.name]
    passed = sorted(mine, key=lambda one: (str(one.tags.get(tag)), int(one.version)), reverse=True)
    return [f"models:/{one.name}/{one.version}" for one in passed if str(one.version) != version.version]


def _converted_models(client: MlflowClient, tracking: str) -> set[str]:
    with tracking_errors(tracking):
        return {version.name for version in all_found(client.search_model_versions, f"tags.`{OUTPUT_MARK}` != ''")}
