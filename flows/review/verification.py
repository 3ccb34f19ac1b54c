"""A registered version checked anew: its files, its gates, and the whole chain of digests from the source on."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from autocast_core.errors import AutocastError, GateError, InputError, ModelError
from autocast_core.evaluate import GateResult, output_metric_names, parse_gate
from autocast_core.json_values import finite
from flows.local.home import Home
from flows.request.spec import Spec, make_spec
from tasks.stages.gates import NO_DATA
from tasks.storage.data import fetch_data
from tasks.storage.model_registry import resolve_tracking_uri
from tasks.storage.models import Fetched, fetch_model
from tasks.tracking.conversions import IDENTITY_TAG
from tasks.tracking.identity import identity
from tasks.tracking.reading import RunRecord, VersionRecord, read_artifact, read_run, read_version, set_alias

_SAID_TWICE = tuple(
    f"autocast.{name}"
    for name in ("source", "source_sha256", "output_sha256", "precision", "version", "evaluation_data", "gate")
)
"""Tags that a version and its run both have."""
_NEEDED = ("autocast.source", "autocast.source_sha256", "autocast.output_sha256", "autocast.precision")


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


@dataclass(frozen=True)
class Promotion:
    """What a promotion checked; `alias` is set only where all of it holds."""

    model: str
    alias: str
    output_sha256: str
    gates: tuple[GateResult, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, without NaN or infinity (None)."""
        return finite(asdict(self))


class BrokenChainError(ModelError):
    """A version is not what it says it is; `result` holds what was compared."""

    def __init__(self, message: str, result: Verification) -> None:
        super().__init__(message)
        self.result = result


class RefusedPromotionError(GateError):
    """A version that misses its gates is not promoted; `result` says which."""

    def __init__(self, message: str, result: Promotion) -> None:
        super().__init__(message)
        self.result = result


def our_version(uri: str) -> tuple[VersionRecord, RunRecord]:
    """The version at `uri` and its run. InputError where it is no conversion of ours, or its run is gone."""
    tracking = resolve_tracking_uri()
    version = read_version(tracking, uri)
    missing = [tag for tag in _NEEDED if tag not in version.tags]
    if missing or not version.run_id:
        raise InputError(f"{version} is no conversion of ours: it lacks the tag {(missing or ['of a run'])[0]}")
    return version, read_run(tracking, version.run_id)


def promote(uri: str, alias: str, home: Home) -> Promotion:
    """Sets `alias` on the version at `uri` if its files have their digest and its gates hold on its run's metrics.

    BrokenChainError and RefusedPromotionError otherwise: then nothing is changed.
    """
    version, run = our_version(uri)
    registered = _registered(version, home)
    link = _files(version, registered)
    if not link.ok:
        raise BrokenChainError(_broken(version, link), Verification(str(version), (link,)))
    found = Promotion(str(version), alias, str(link.found), gates_again(version, run, registered))
    missed = [f"{gate.expression}: {gate.reason}" for gate in found.gates if not gate.passed]
    if missed:
        raise RefusedPromotionError(f"{version} is not promoted: {'; '.join(missed)}", found)
    set_alias(resolve_tracking_uri(), version, alias)
    return found


def gates_again(version: VersionRecord, run: RunRecord, registered: Fetched) -> tuple[GateResult, ...]:
    """The gates of the run's spec on the run's metrics as they are now, and the verdict that the version carries."""
    spec = spec_of(run)
    gates = [parse_gate(expression) for expression in spec.gates]
    names = _metric_names(registered) if any(gate.output is not None for gate in gates) else {}
    results = []
    for gate in gates:
        if run.tags.get("autocast.evaluation_data") == "random" and not spec.allow_random:
            results.append(gate.failed(NO_DATA))
        else:
            results.append(gate.check(run.metrics, names))
    verdict = version.tags.get("autocast.gate", "none")
    results.append(GateResult("autocast.gate", None, verdict == "passed", f"the version's tag says {verdict}"))
    return tuple(replace(each, reason="") if each.passed else each for each in results)


def _metric_names(registered: Fetched) -> dict[str, str]:
    """By name of the model's outputs their names in metrics, as the conversion has logged them."""
    from tasks.tracking.model_facts import ports_of

    return output_metric_names(name for role, name, *_ in ports_of(registered.ref) if role == "output")


def spec_of(run: RunRecord) -> Spec:
    """The spec that the run's parameters hold. ConfigError where they are none."""
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


def verify_version(uri: str, home: Home) -> Verification:
    """Computes the chain of the version at `uri` anew: its files, its run, its identity, its data, its source, the plan
    on the source, and the bytes that applying the plan to the source gives.

    BrokenChainError (with all links) where one does not hold or could not be checked.
    """
    version, run = our_version(uri)
    registered = _registered(version, home)
    links = [_files(version, registered), *_of_run(version, run), *_of_data(run, home)]
    with tempfile.TemporaryDirectory(prefix="autocast-verify-") as folder:
        links += _from_source(version, run, registered, home, Path(folder))
    found = Verification(str(version), tuple(links))
    if not found.verified:
        raise BrokenChainError(_broken(version, next(link for link in links if not link.ok)), found)
    return found


def _broken(version: VersionRecord, link: Link) -> str:
    if link.ok is None:
        return f"{version} is not verified: {link.what} could not be checked: {link.note}"
    return f"{version} is not what it says: {link.what} is {link.found}, not {link.expected}"


def _registered(version: VersionRecord, home: Home) -> Fetched:
    return fetch_model(str(version), home.cache)


def _files(version: VersionRecord, registered: Fetched) -> Link:
    return _link("sha256 of the registered files", version.tags["autocast.output_sha256"], registered.ref.digest)


def _of_run(version: VersionRecord, run: RunRecord) -> Iterator[Link]:
    for tag in _SAID_TWICE:
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
    from autocast_core.plan import PrecisionPlan
    from tasks.stages.apply import apply_task
    from tasks.stages.sanitize import sanitize_task
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
    yield _link("precision of the plan", version.tags["autocast.precision"], str(plan.precision))
    what, wanted = "sha256 of plan applied to source", version.tags["autocast.output_sha256"]
    try:
        sanitized = sanitize_task.fn(source.ref, spec_of(run).config(), folder)
        structure, weights = digests_of(sanitized.model)
        yield _link("structure that the plan is for", plan.structure_digest, structure)
        yield _link("weights that the plan is for", plan.weights_digest, weights)
        (folder / "plan.json").write_text(text, encoding="utf-8")
        made = apply_task.fn(sanitized.model, folder / "plan.json", folder / "again", registered.ref.path.name)
    except AutocastError as error:
        yield Link(what, wanted, None, None, str(error))
        return
    yield _link(what, wanted, made.model.digest)


def _link(what: str, expected: str, found: str | None) -> Link:
    return Link(what, expected, found, expected == found)
