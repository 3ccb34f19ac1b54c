"""Verifies a registered version: recomputes every digest from the source to the registered files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autocast_core.errors import AutocastError, ModelError
from flows.local.home import Home
from flows.proof.keys import PublicKey
from flows.proof.proof import BrokenProofError, check_proof
from flows.review.conversion_record import read_conversion, spec_of
from tasks.storage.data import fetch_data
from tasks.storage.model_registry import resolve_tracking_uri
from tasks.storage.models import Fetched, fetch_model
from tasks.tracking.identity import identity
from tasks.tracking.reading import RunRecord, VersionRecord, read_artifact
from tasks.tracking.registry.conversions import IDENTITY_TAG

_SHARED_TAGS = tuple(
    f"autocast.{name}"
    for name in ("source", "source_sha256", "output_sha256", "precision", "version", "evaluation_data", "gate")
)
"""Tags that a version and its run both carry."""


@dataclass(frozen=True)
class Link:
    """One link of the chain; `ok` is None where it could not be checked, and `note` says why."""

    what: str
    expected: str
    found: str | None
    ok: bool | None
    note: str = ""


@dataclass(frozen=True)
class Verification:
    """The links from the source to the registered files."""

    model: str
    links: tuple[Link, ...]

    @property
    def verified(self) -> bool:
        return all(link.ok for link in self.links)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"model": self.model, "verified": self.verified, "links": [asdict(link) for link in self.links]}


class BrokenChainError(ModelError):
    """A version does not match its own record; `result` holds what was compared."""

    def __init__(self, message: str, result: Verification) -> None:
        super().__init__(message)
        self.result = result


def verify_version(uri: str, home: Home, key: PublicKey | None = None) -> Verification:
    """Recomputes the chain of the version at `uri`: its files, run, identity, data and source, the plan's digests of
    the source, and the bytes that applying the plan to the source gives.

    BrokenChainError (with all links) where a link does not hold or could not be checked; with a `key` before that
    BrokenProofError (with what differs) where the version's proof is not signed with it or does not hold.
    """
    version, run = read_conversion(uri)
    proof = [proof_link(version, run, key)] if key else []
    registered = fetch_model(str(version), home.cache)
    links = [*proof, files_link(version, registered), *_of_run(version, run), *_of_data(run, home)]
    with tempfile.TemporaryDirectory(prefix="autocast-verify-") as folder:
        links += _from_source(version, run, registered, home, Path(folder))
    found = Verification(str(version), tuple(links))
    if not found.verified:
        raise BrokenChainError(broken_link(version, next(link for link in links if not link.ok)), found)
    return found


def proof_link(version: VersionRecord, run: RunRecord, key: PublicKey) -> Link:
    """The version's proof by this key. BrokenProofError, with what differs as links, where it does not hold."""
    try:
        found = check_proof(version, run, key)
    except BrokenProofError as error:
        broken = [_link(each.what, each.attested or "–", each.found) for each in error.differences]
        missing = Link("proof signed with the key", key.fingerprint, None, False, str(error))
        error.result = Verification(str(version), tuple(broken or [missing]))
        raise
    return _link("proof signed with the key", key.fingerprint, found.key)


def broken_link(version: VersionRecord, link: Link) -> str:
    """What is wrong with the version, given the link that does not hold."""
    if link.ok is None:
        return f"{version} is not verified: {link.what} could not be checked: {link.note}"
    return f"{version} is not what it says: {link.what} is {link.found}, not {link.expected}"


def files_link(version: VersionRecord, registered: Fetched) -> Link:
    """The digest of the registered files against the one that the version carries."""
    return _link("sha256 of the registered files", version.tags["autocast.output_sha256"], registered.ref.digest)


def _of_run(version: VersionRecord, run: RunRecord) -> Iterator[Link]:
    for tag in _SHARED_TAGS:
        yield _link(f"{tag} of run {run.run_id}", version.tags.get(tag, "–"), run.tags.get(tag))
    calibration, evaluation = (run.inputs.get(name) for name in ("calibration", "evaluation"))
    again = identity(
        run.tags.get("autocast.source_sha256", ""),
        calibration,
        evaluation,
        spec_of(run).canonical(),
        version.tags.get("autocast.version", ""),
    )
    yield _link("identity of source, data, spec and engine version", version.tags.get(IDENTITY_TAG, "–"), again)


def _of_data(run: RunRecord, home: Home) -> Iterator[Link]:
    for purpose in ("calibration", "evaluation"):
        if purpose in run.inputs:
            what, expected = f"sha256 of the {purpose} data", run.inputs[purpose]
            try:
                yield _link(what, expected, fetch_data(run.places[purpose], home.cache).digest)
            except AutocastError as error:
                yield Link(what, expected, None, None, str(error))


def _from_source(
    version: VersionRecord, run: RunRecord, registered: Fetched, home: Home, folder: Path
) -> Iterator[Link]:

    from autocast_core.pipeline.planned_graph import planned_config
    from autocast_core.pipeline.saved import JobRequest, SavedModelFiles, SavedPlan, SavedSanitized
    from autocast_core.plan import PrecisionPlan
    from autocast_core.precision import types_text
    from tasks.stages.conversion import ISOLATED
    from tasks.tracking.model_facts import digests_of

    expected = version.tags["autocast.source_sha256"]
    try:
        source = fetch_model(version.tags["autocast.source"], home.cache)
    except AutocastError as error:
        yield Link("sha256 of the source", expected, None, None, str(error))
        return
    yield _link("sha256 of the source", expected, source.ref.digest)
    text = read_artifact(resolve_tracking_uri(), run, "plan.json")
    plan = PrecisionPlan.from_json(text)
    yield _link("precision of the plan", version.tags["autocast.precision"], types_text(plan.low_types))
    what, wanted = "sha256 of plan applied to source", version.tags["autocast.output_sha256"]
    try:
        request = JobRequest(
            source.ref, planned_config(spec_of(run).config(), plan), folder, output=registered.ref.path.name
        )
        sanitized: SavedSanitized = ISOLATED["sanitize"]("sanitize", request, (source.ref,))
        (folder / "plan.json").write_text(text, encoding="utf-8")
        structure, weights = digests_of(sanitized.model, folder / "plan.json")
        yield _link("structure that the plan is for", plan.structure_digest, structure)
        yield _link("weights that the plan is for", plan.weights_digest, weights)
        saved = SavedPlan.of(folder / "plan.json", plan)
        made: SavedModelFiles = ISOLATED["apply"]("apply", request, (sanitized, saved))
    except AutocastError as error:
        yield Link(what, wanted, None, None, str(error))
        return
    yield _link(what, wanted, made.model.digest)


def _link(what: str, expected: str, found: str | None) -> Link:
    return Link(what, expected, found, expected == found)
