"""Lineage in Prefect: which assets a conversion made of which."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from tasks.storage.uri import LocalLocation, RegistryLocation, S3Location, parse_uri

LOG = logging.getLogger(__name__)
BY = "autocast"


def asset_key(uri: str) -> str:
    """The location as the key of an asset, without what pins a state: ``s3://…``, ``file://…``, ``models://NAME/3``."""
    match parse_uri(uri):
        case S3Location(bucket, key):
            return f"s3://{bucket}/{key}"
        case RegistryLocation(name, version, alias):
            return f"models://{name}/{version or alias}"
        case LocalLocation(path):
            return f"file://{path.absolute()}"


def show_lineage(source: str, outputs: Iterable[str], facts: Mapping[str, Any]) -> None:
    """Says in this flow run that the assets at `outputs`, of which `facts` hold, were made from the one at `source`.

    A server that rejects it, or a location with characters that Prefect rejects, is logged.
    """
    from prefect.assets import Asset, add_asset_metadata
    from prefect.cache_policies import NO_CACHE
    from prefect.tasks import MaterializingTask

    def materialize() -> None:
        for asset in assets:
            add_asset_metadata(asset, dict(facts))

    try:
        assets = [Asset(key=asset_key(uri)) for uri in dict.fromkeys(outputs)]
        origin: list[str | Asset] = [Asset(key=asset_key(source))]
        MaterializingTask(
            materialize, assets=assets, asset_deps=origin, materialized_by=BY, name="lineage", cache_policy=NO_CACHE
        )()
    except Exception as error:
        LOG.warning("the lineage of %s was not kept: %s", source, type(error).__name__)
