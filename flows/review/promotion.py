"""Promotes a registered version: sets an alias after checking its files and its gates again."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from autocast_core.errors import GateError
from autocast_core.evaluate import GateResult, output_metric_names, parse_gate
from autocast_core.evaluate.gates import NO_NONFINITE
from autocast_core.evaluate.metric_names import of_worst_output, with_current_names
from autocast_core.json_values import finite
from autocast_core.precision import parse_low_types
from flows.local.home import Home
from flows.proof.keys import trusted_key
from flows.review.conversion_record import read_conversion, spec_of
from flows.review.verification import BrokenChainError, Verification, broken_link, files_link, proof_link
from tasks.stages.gates import NO_DATA
from tasks.storage.model_registry import resolve_tracking_uri
from tasks.storage.models import Fetched, fetch_model
from tasks.tracking.reading import RunRecord, VersionRecord, set_alias
from tasks.tracking.registry.review_tags import record_checked


@dataclass(frozen=True)
class Promotion:
    """What a promotion checked; `alias` is set only where all of it holds."""

    model: str
    alias: str
    output_sha256: str
    gates: tuple[GateResult, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, without NaN or infinity (None)."""
        plain: dict[str, Any] = finite(asdict(self))
        return plain


class PromotionRefusedError(GateError):
    """A version that misses gates is not promoted; `result` says which."""

    def __init__(self, message: str, result: Promotion) -> None:
        super().__init__(message)
        self.result = result


def promote(uri: str, alias: str, home: Home) -> Promotion:
    """Sets `alias` on the version at `uri` if its files have their digest and its gates hold on its run's metrics, and
    where the service says so (AUTOCAST_TRUSTED_KEY) if its proof holds.

    BrokenProofError, BrokenChainError and PromotionRefusedError otherwise; then nothing is changed.
    """
    version, found = check_promotion(uri, alias, home)
    tracking = resolve_tracking_uri()
    set_alias(tracking, version, alias)
    record_checked(tracking, version, alias)
    return found


def check_promotion(uri: str, alias: str, home: Home) -> tuple[VersionRecord, Promotion]:
    """What `promote` checks, and its errors; changes nothing."""
    version, run = read_conversion(uri)
    key = trusted_key()
    if key is not None:
        proof_link(version, run, key)
    registered = fetch_model(str(version), home.cache)
    link = files_link(version, registered)
    if not link.ok:
        raise BrokenChainError(broken_link(version, link), Verification(str(version), (link,)))
    found = Promotion(str(version), alias, str(link.found), check_gates_again(version, run, registered))
    missed = [f"{gate.expression}: {gate.reason}" for gate in found.gates if not gate.passed]
    if missed:
        raise PromotionRefusedError(f"{version} is not promoted: {'; '.join(missed)}", found)
    return version, found


def check_gates_again(version: VersionRecord, run: RunRecord, registered: Fetched) -> tuple[GateResult, ...]:
    """The gates of the run's spec, else the default ones, on the run's metrics as they are now, and the gate result in
    the version's tag."""
    spec = spec_of(run)
    names, metrics = _metric_names(registered), with_current_names(run.metrics)
    gates = spec.asked_gates().parsed(parse_low_types(spec.precision)[0], metrics, names)
    if metrics.get(of_worst_output("nonfinite"), 0.0) and not spec.allow_nonfinite:
        gates = (*gates, parse_gate(NO_NONFINITE))
    results = []
    for gate in gates:
        if run.tags.get("autocast.evaluation_data") == "random" and not spec.allow_random:
            results.append(gate.failed(NO_DATA))
        else:
            results.append(gate.check(metrics, names))
    recorded = version.tags.get("autocast.gate", "none")
    results.append(GateResult("autocast.gate", None, recorded == "passed", f"the version's tag says {recorded}"))
    return tuple(replace(each, reason="") if each.passed else each for each in results)


def _metric_names(registered: Fetched) -> dict[str, str]:
    """The name in metrics of each output of the model, as the conversion logged them."""
    from tasks.tracking.model_facts import ports_of

    return output_metric_names(name for role, name, *_ in ports_of(registered.ref) if role == "output")
