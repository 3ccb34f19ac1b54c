"""Which of a conversion's metrics its run shows: few; its artifact ``metrics.json`` has all of them.

- Of what the simulation gives: the errors of the worst output, fewer of the worst batch, and of several outputs the
  first two of each.
- Of other backends and of bounds: the worst output alone.
- What a gate reads, whatever it is: promotions check gates again on the run's metrics.
- All that is not fidelity.

Does not measure, and does not round.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress

from autocast_core.errors import ConfigError
from autocast_core.evaluate import GateResult, parse_gate
from autocast_core.evaluate.classification import CLASS_METRICS
from autocast_core.evaluate.metric_names import SIMULATION, fidelity_name
from autocast_core.json_values import finite

METRICS_FILE = "metrics.json"
_FIRST = ("fidelity/", "task/", "model/", "nodes/", "casts/", "engine/", "fusion/", "tensorrt/")
_SHARES = ("equal_share", "top1_agreement")
_OF_OTHER_BACKENDS = ("sqnr_db", "rel_l2", "new_nonfinite", "nonfinite")
_OF_WORST = ("sqnr_db", "rel_l2", "max_abs", "cosine", "new_nonfinite", "nonfinite", "equal_share", *CLASS_METRICS)
_OF_WORST_BATCH = ("sqnr_db", "rel_l2", *_SHARES)
_OF_OUTPUT = ("sqnr_db", "rel_l2", *_SHARES)
_OF_OUTPUTS_WORST_BATCH = ("sqnr_db", "equal_share")


def shown_metrics(metrics: Mapping[str, float], asked: Collection[str] = ()) -> dict[str, float]:
    """Those of `metrics` that a run shows, the headlines first, as the run's page keeps their order; `asked` are names
    that it has in any case."""
    outputs = {found.output for name in metrics if (found := fidelity_name(name)) and found.output}
    shown = [name for name in metrics if name in asked or _is_shown(name, several=len(outputs) > 1)]
    return {name: metrics[name] for name in sorted(shown, key=_place)}


def read_by(gates: Iterable[GateResult], names: Mapping[str, str]) -> frozenset[str]:
    """The names of the metrics that the gates judge; `names` are those of outputs in metrics."""
    found = set()
    for gate in gates:
        # A gate such as ``validation: required`` is about no metric.
        with suppress(ConfigError):
            found.add(parse_gate(gate.expression).reads(names))
    return frozenset(found)


def metrics_text(metrics: Mapping[str, float]) -> str:
    """All metrics as the JSON of METRICS_FILE, by name in order; null for NaN and infinity."""
    return json.dumps(finite(dict(sorted(metrics.items()))), indent=1) + "\n"


def _place(name: str) -> tuple[int, bool, int]:
    """Where the metric stands: what judges the model, then what it gained, then the rest, single outputs last."""
    found = fidelity_name(name)
    place = next((place for place, head in enumerate(_FIRST) if name.startswith(head)), len(_FIRST))
    if found is None:
        return place, False, 0
    within = _OF_WORST.index(found.metric) if found.metric in _OF_WORST else len(_OF_WORST)
    return len(_FIRST) + 1 if found.output else place, found.worst_batch, within


def _is_shown(name: str, *, several: bool) -> bool:
    found = fidelity_name(name)
    if found is None:
        return True
    if found.prefix != SIMULATION:
        return not found.output and not found.worst_batch and found.metric in _OF_OTHER_BACKENDS
    if not found.output:
        return found.metric in (_OF_WORST_BATCH if found.worst_batch else _OF_WORST)
    return several and found.metric in (_OF_OUTPUTS_WORST_BATCH if found.worst_batch else _OF_OUTPUT)
