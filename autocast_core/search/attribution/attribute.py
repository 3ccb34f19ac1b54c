"""Which nodes a lowered model's error comes from, measured in one pass of one graph.

The pass says at every tensor how much of its error each cause alone makes: each input's low version, the weights, the
rounding there. From the outputs backwards every tensor's share of the output error is split over its causes in
proportion to their squares, which is exact where errors are independent and small (the usual model of quantization
noise: Widrow, Kollar, Quantization Noise, 2008, ch. 4) and an estimate elsewhere. The shares add up to 1.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from autocast_core.config import Precision
from autocast_core.data import Batches
from autocast_core.errors import BackendError
from autocast_core.graph.walk import bodies, nodes_with_ids
from autocast_core.json_values import finite
from autocast_core.operators import OperandPolicy
from autocast_core.operators.families import HANDS_ON, is_in
from autocast_core.plan import NodeError
from autocast_core.progress import Progress, ProgressCallback, silent
from autocast_core.runtime import Runtime, Session
from autocast_core.search.attribution.error_sites import ErrorSite
from autocast_core.search.attribution.probe_graph import (
    ENERGY,
    FRESH,
    LOCAL,
    NAN,
    OVERFLOW,
    TOTAL,
    UNDERFLOW,
    UNEQUAL_SHAPES,
    WEIGHTS,
    Probe,
    ProbeGraph,
    probe_graph,
)

_LOG = logging.getLogger(__name__)
_HUGE = 1e300


@dataclass(frozen=True)
class Attribution:
    """The nodes by falling share, the places where errors enter (see error_sites), and the predicted relative L2 of the
    worst output; `nan` names the tensors of the exact model that hold NaN, in graph order."""

    nodes: tuple[NodeError, ...] = ()
    sites: Mapping[ErrorSite, float] = field(default_factory=dict)
    rel_l2: float = math.nan
    nan: tuple[str, ...] = ()
    skipped: str | None = None

    def blame(self) -> str | None:
        """Which node most of the error comes from, in words; None where nothing was attributed."""
        blamed = max(self.nodes, key=lambda node: node.share, default=None)
        if blamed is None or not blamed.share > 0.0:
            return None
        return f"{blamed.share:.0%} of the error comes from {blamed.op_type} {blamed.id!r}"

    def to_json(self) -> dict[str, Any]:
        """Plain values, without NaN."""
        return {
            "nodes": [node.to_json() for node in self.nodes],
            "sites": [[sorted(site), share] for site, share in self.sites.items()],
            "rel_l2": finite(self.rel_l2),
            "nan": list(self.nan),
            "skipped": self.skipped,
        }

    @staticmethod
    def from_json(raw: Mapping[str, Any]) -> Attribution:
        """What `to_json` gave."""
        return Attribution(
            tuple(NodeError(**node) for node in raw["nodes"]),
            {frozenset(site): float(share) for site, share in raw["sites"]},
            math.nan if raw["rel_l2"] is None else float(raw["rel_l2"]),
            tuple(raw["nan"]),
            raw["skipped"],
        )


def read_attribution(path: Path) -> Attribution:
    """The attribution whose JSON lies at `path`."""
    return Attribution.from_json(json.loads(path.read_text(encoding="utf-8")))


def attribute(
    model: ir.Model,
    low: Mapping[str, Precision],
    precision: Precision,
    policy: OperandPolicy,
    batches: Batches,
    runtime: Runtime,
    progress: ProgressCallback = silent,
) -> Attribution:
    """The attribution of a sanitized `model` of which `low` nodes would be lowered, over `batches`; one evaluation.
    `policy` says which operands of a low node move, and so must be that of the plan.

    Memory is that of one inference and its low twins. Where the runtime cannot run the instrumented graph, nothing is
    attributed and `skipped` says why.
    """
    probing = Probing.of(model, low, precision, policy, batches)
    return probing.attribution(partial(probing.open, runtime), progress)


@dataclass(frozen=True)
class Probing:
    """The pass over `batches` that tells what `graph` probes of `model`, of which `low` nodes would be lowered."""

    model: ir.Model
    low: Mapping[str, Precision]
    graph: ProbeGraph
    batches: Batches

    @staticmethod
    def of(
        model: ir.Model,
        low: Mapping[str, Precision],
        precision: Precision,
        policy: OperandPolicy,
        batches: Batches,
    ) -> Probing:
        """The pass for a sanitized `model`; see `attribute`."""
        return Probing(model, low, probe_graph(model, low, precision, policy), batches)

    def open(self, runtime: Runtime) -> Session:
        """A session for the pass. BackendError where the runtime refuses the graph."""
        return runtime.open(self.graph.model, exact=True, few_runs=True, batches=self.batches)

    def attribution(self, opened: Callable[[], Session], progress: ProgressCallback = silent) -> Attribution:
        """What the pass in the session that `opened` gives shows; `skipped` where it gives none or fails."""
        probes, count = self.graph.probes, len(self.batches)
        names = [probe.value for probe in probes]
        sums = [np.zeros(NAN + 1 + len(probe.inputs)) for probe in probes]
        try:
            with closing(opened()) as session, np.errstate(all="ignore"):
                for number, feeds in enumerate(self.batches):
                    progress(Progress("attribute", number, count, "batches"))
                    for total, vector in zip(sums, session.run(feeds), strict=True):
                        total += vector
        except BackendError as error:
            _LOG.warning("errors cannot be attributed to nodes: %s", error)
            return Attribution(skipped=str(error))
        progress(Progress("attribute", count, count, "batches"))
        nan = tuple(name for name, total in zip(names, sums, strict=True) if total[NAN] > 0)
        measured = {name: np.nan_to_num(t, nan=_HUGE, posinf=_HUGE) for name, t in zip(names, sums, strict=True)}
        return _Attributor(self.model, self.low, {probe.value: probe for probe in probes}, measured).run(nan)


@dataclass
class _Attributor:
    """Walks from the outputs to the inputs. `leaves` says for each value which nodes must be FP32, beside those that
    bring it there, for its error not to be made again by its readers: shares of the output error by site."""

    model: ir.Model
    low: Mapping[str, Precision]
    probes: Mapping[str, Probe]
    sums: Mapping[str, np.ndarray]
    leaves: dict[str, dict[ErrorSite, float]] = field(default_factory=dict)
    sites: dict[ErrorSite, float] = field(default_factory=dict)

    def run(self, nan: tuple[str, ...]) -> Attribution:
        worst = self._outputs()
        units = {node_id: _unit(node, node_id, self.low) for node_id, node in _main_nodes(self.model)}
        for node_id, node in reversed(list(_main_nodes(self.model))):
            for value in node.outputs:
                if value.name in self.probes:
                    self._value(str(value.name), node, units[node_id])
        for value in self.model.graph.inputs:
            self._input(str(value.name))
        total = sum(self.sites.values()) or 1.0
        sites = {site: share / total for site, share in self.sites.items()}
        shares: dict[str, float] = {}
        for site, share in sites.items():
            for node_id in sorted(site):
                shares[node_id] = shares.get(node_id, 0.0) + share / len(site)
        return Attribution(tuple(self._table(shares)), sites, worst, nan)

    def _outputs(self) -> float:
        """Gives each graph output its part of the whole; the largest relative L2.

        Where the number of results depends on data, as of NonMaxSuppression, what decides it stands for the output.
        """
        errors = self._errors(str(value.name) for value in self.model.graph.outputs)
        decided = (name for value in self.model.graph.outputs for name in self._decided_by(value))
        parts = {**self._errors(decided), **errors}
        total = sum(parts.values())
        for name, error in parts.items():
            self._add(name, frozenset(), error / total)
        return math.sqrt(max((float(error) for error in errors.values()), default=0.0))

    def _errors(self, names: Iterable[str]) -> dict[str, float]:
        """The squared relative L2 of those values that have an error."""
        found = {name: self.sums[name] for name in names if name in self.sums}
        return {
            name: sums[TOTAL] / sums[ENERGY] if sums[ENERGY] else _HUGE
            for name, sums in found.items()
            if sums[TOTAL] > 0.0
        }

    def _decided_by(self, value: ir.Value, *, number: bool = False) -> Iterator[str]:
        """The measured values that decide the `number` of results which `value`, not measured itself, depends on."""
        producer = value.producer()
        if number and value.name in self.sums:
            yield str(value.name)
        elif producer is not None and value.name not in self.sums:
            for source in producer.inputs:
                if source is not None:
                    yield from self._decided_by(source, number=number or producer.op_type in UNEQUAL_SHAPES)

    def _value(self, name: str, node: ir.Node, unit: ErrorSite) -> None:
        """Splits what is known of the error of `name` over its causes."""
        probe, sums, leaves = self.probes[name], self.sums[name], self.leaves.pop(name, {})
        # What bodies round inside comes out with the node's results.
        fresh = max(sums[FRESH], sums[LOCAL]) if any(True for _ in bodies(node)) else sums[FRESH]
        causes = [fresh, sums[WEIGHTS], *sums[NAN + 1 :]]
        whole, share = sum(causes), sum(leaves.values())
        if not whole or not share:
            return
        for site, part in leaves.items():
            self._enters(site | unit, part * fresh / whole)
        self._enters(unit, share * sums[WEIGHTS] / whole)
        hands_on = is_in(node, HANDS_ON)
        for source, error in zip(probe.inputs, sums[NAN + 1 :], strict=True):
            if not error:
                continue
            for site, part in leaves.items() if hands_on else ((frozenset(), share),):
                self._add(source, site | unit, part * error / whole)

    def _input(self, name: str) -> None:
        """A graph input is low as soon as one of its readers is."""
        leaves = self.leaves.pop(name, {})
        self._enters(frozenset().union(*leaves), sum(leaves.values()))

    def _add(self, name: str, site: ErrorSite, share: float) -> None:
        leaves = self.leaves.setdefault(name, {})
        leaves[site] = leaves.get(site, 0.0) + float(share)

    def _enters(self, site: ErrorSite, share: float) -> None:
        if site and share > 0.0:
            self.sites[site] = self.sites.get(site, 0.0) + float(share)

    def _table(self, shares: Mapping[str, float]) -> list[NodeError]:
        rows = []
        for node_id, node in nodes_with_ids(self.model.graph):
            if node_id not in self.low:
                continue
            seen = [self.sums[str(v.name)] for v in node.outputs if v.name in self.sums]
            energy, local = (float(sum(s[place] for s in seen)) for place in (ENERGY, LOCAL))
            rows.append(
                NodeError(
                    node_id,
                    node.op_type,
                    math.sqrt(local / energy) if energy else (0.0 if not local else _HUGE),
                    shares.get(node_id, 0.0),
                    int(sum(s[OVERFLOW] for s in seen)),
                    int(sum(s[UNDERFLOW] for s in seen)),
                )
            )
        return sorted(rows, key=lambda row: -row.share)


def _main_nodes(model: ir.Model) -> Iterator[tuple[str, ir.Node]]:
    return ((f"graph/{node.name}", node) for node in model.graph)


def _unit(node: ir.Node, node_id: str, low: Mapping[str, Precision]) -> ErrorSite:
    """The nodes that decide how `node` computes: itself and what its bodies hold, as far as they may be low."""
    inner = [i for name, body in bodies(node) for i, _ in nodes_with_ids(body, f"{node_id}:{name}")]
    return frozenset(each for each in (node_id, *inner) if each in low)
