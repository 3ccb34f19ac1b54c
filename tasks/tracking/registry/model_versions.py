"""Registered model versions."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from autocast_core.text import one_line
from tasks.tracking.descriptions import ModelDescription
from tasks.tracking.logged_model import LoggedModel
from tasks.tracking.registry.conversions import IDENTITY_TAG, version_of
from tasks.tracking.runs import RunRef
from tasks.tracking.store import retry_conflicts, tracking_errors, write_if_allowed

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOG = logging.getLogger(__name__)
CANDIDATE = "candidate"
SUMMARY_TAGS = ("gates", "size", "sqnr")
"""Of a conversion's version: what the narrow column of tags in MLflow's table of versions shows."""
CONVERTED_TAG = "autocast.converted."
"""Of a source version: what was made of it, by precision."""


@dataclass(frozen=True)
class Registered:
    """A version in the registry, and the aliases that were set on it."""

    name: str
    version: str
    aliases: tuple[str, ...] = ()

    @property
    def uri(self) -> str:
        return f"models:/{self.name}/{self.version}"


def register_version(
    run: RunRef,
    model: LoggedModel,
    name: str,
    *,
    tags: Mapping[str, str],
    description: str,
    alias: str | None,
    of_this_run: bool = False,
    described: ModelDescription | None = None,
) -> Registered:
    """Registers the logged model as a new version of `name`, made where it does not exist; sets `alias` last.

    Where a version of this name has the same ``autocast.identity`` already (an earlier try ended in between), that one
    is completed; with `of_this_run` only one that this run made, as anybody can write such a tag. The version carries
    its tags from the beginning, so that whoever hears of it knows whose it is.
    """
    from mlflow.exceptions import MlflowException

    with tracking_errors(run.tracking_uri):
        client = run.client()
        try:
            # Whatever a person writes there later stays.
            client.create_registered_model(
                name, dict(described.tags) if described else None, described.text if described else None
            )
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            if described is not None:
                _describe(client, name, described)
        there = version_of(run, name, tags[IDENTITY_TAG]) if IDENTITY_TAG in tags else None
        if of_this_run and there is not None and there.run_id != run.run_id:
            there = None
        made = there or client.create_model_version(
            name, model.uri, run.run_id, tags=dict(tags), description=description, model_id=model.model_id
        )
        # The UI reads from this tag of MLflow's own which versions a logged model became.
        client.set_logged_model_tags(
            model.model_id, {"mlflow.modelVersions": json.dumps([{"name": name, "version": made.version}])}
        )
        if alias is not None:
            set_alias(client, name, alias, made.version)
    return Registered(name, str(made.version), (alias,) if alias else ())


def _describe(client: MlflowClient, name: str, described: ModelDescription) -> None:
    """Describes a registered model that is there already, once and as far as it says nothing: what people write, and
    what they remove, stays."""
    there = client.get_registered_model(name)
    if not described.tags.keys() - there.tags.keys():
        return
    if not there.description:
        write_if_allowed(name, partial(client.update_registered_model, name, described.text))
    for tag, value in described.tags.items():
        write_if_allowed(name, partial(client.set_registered_model_tag, name, tag, value))


def link_source(run: RunRef, source: str, precision: str, made: str) -> None:
    """Writes on the registered version `source` (models:/NAME/VERSION) that `made` is its form in `precision`.

    Where the registry does not take it, that is logged: the conversion is done all the same."""
    from mlflow.exceptions import MlflowException

    name, _, version = source.removeprefix("models:/").rpartition("/")
    client = run.client()
    try:
        retry_conflicts(lambda: client.set_model_version_tag(name, version, CONVERTED_TAG + precision, made))
    except MlflowException as error:
        LOG.warning("%s does not say that %s was made of it: %s", source, made, one_line(error, 200))


def set_alias(client: MlflowClient, name: str, alias: str, version: str) -> None:
    """Sets the alias on the version, also where another process sets the same one at this moment."""
    retry_conflicts(lambda: client.set_registered_model_alias(name, alias, version))
