"""An earlier conversion of the same identity and name: whether it may be handed back, and its model where this request
wants it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from autocast_core.errors import VerificationError
from flows.conversion.result import ConversionResult
from tasks.stages.fetch import fetch_model_task
from tasks.stages.publish import publish_task
from tasks.storage.publication import PLAN_FILE, is_there, output_location, take_back
from tasks.tracking.artifacts import run_file
from tasks.tracking.registry.conversions import EarlierConversion
from tasks.tracking.runs import RunRef
from tasks.tracking.store import tracking_errors

if TYPE_CHECKING:
    from flows.proof.keys import PrivateKey


def may_be_handed_back(earlier: EarlierConversion, run: RunRef, signing_key: PrivateKey | None) -> bool:
    """Where this service signs, whether the earlier conversion's proof holds. Anybody with rights on the registry can
    write an identity; a service answers for what it made itself."""
    if signing_key is None:
        return True
    from flows.proof.proof import holds_proof

    return holds_proof(run.tracking_uri, earlier.version, signing_key.public)


def handed_back(
    earlier: EarlierConversion, output: str | None, run: RunRef, cache: Path, folder: Path
) -> ConversionResult:
    """The earlier result, with its model at `output`: the registered one is copied there unless it is there already.

    Without an output it is the registered version. VerificationError where the registered files are not those that were
    verified; `folder` receives the plan on its way.
    """
    found = replace(ConversionResult.from_json(earlier.result), reused=True)
    if output is None:
        return replace(found, output=earlier.version)
    if _has_output(found, output):
        return found
    model = fetch_model_task(earlier.version, cache).ref.path
    with tracking_errors(run.tracking_uri):
        plan = run_file(run.client(), str(found.run_id), PLAN_FILE, folder)
    published = publish_task(model, output, plan)
    if published.sha256 != found.output_sha256:
        take_back(published)
        raise VerificationError(
            f"{earlier.version}: the sha256 of its files is {published.sha256[:16]}… instead of "
            f"{str(found.output_sha256)[:16]}…: they were changed after they were verified; delete this version and "
            "run again"
        )
    return replace(found, output=published.uri)


def _has_output(found: ConversionResult, output: str) -> bool:
    if found.output is None or found.output == found.registered:
        return False
    return output_location(found.output) == output_location(output) and is_there(found.output)
