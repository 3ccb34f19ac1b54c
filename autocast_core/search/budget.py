"""Budgets: what a plan must reach, judged on a trial."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from autocast_core.errors import ConfigError, DataError
from autocast_core.evaluate import Gate, GateResult, parse_gate
from autocast_core.search.trials import Trial

_RATIO = "task_metric_ratio"


@dataclass(frozen=True)
class Budget:
    """All expressions together; `names` are the names of outputs in metrics (Fidelity.names)."""

    gates: tuple[Gate, ...]
    names: Mapping[str, str] = field(default_factory=dict)

    def results(self, trial: Trial) -> tuple[GateResult, ...]:
        """Each expression on the trial's metrics; all fail where its model could not be run."""
        if trial.error is not None:
            return tuple(gate.failed(trial.error) for gate in self.gates)
        return tuple(gate.check(trial.metrics, self.names) for gate in self.gates)

    @property
    def judges(self) -> tuple[str, ...]:
        """The judges that the expressions speak of."""
        return tuple(dict.fromkeys(gate.judge for gate in self.gates if gate.judge is not None))

    def met(self, trial: Trial) -> bool:
        """Whether every expression holds."""
        return all(result.passed for result in self.results(trial))

    def rel_l2(self) -> float | None:
        """The largest relative L2 that the expressions on the worst output allow; None where none speaks of it."""
        limits = [
            gate.limit if gate.metric == "rel_l2" else 10.0 ** (-gate.limit / 20.0)
            for gate in self.gates
            if (gate.metric, gate.comparison[0]) in (("rel_l2", "<"), ("sqnr_db", ">"))
        ]
        return min(limits, default=None) if all(map(math.isfinite, limits)) else None


def parse_budget(
    expressions: Sequence[str], outputs: Sequence[str], *, has_labels: bool, has_metric: bool = False
) -> Budget:
    """The budget that `expressions` say, for a model with `outputs`; `has_metric`: there is a metric of the user's own.

    ConfigError for a malformed expression, an unknown metric or output; DataError where one needs labels and the data
    has none.
    """
    if not expressions:
        raise ConfigError("a search needs a budget, for example sqnr_db>=40")
    gates = tuple(parse_gate(expression) for expression in expressions)
    for gate in gates:
        if gate.output is not None and gate.output not in outputs:
            raise ConfigError(
                f"budget {gate.expression!r}: no output {gate.output!r}; the outputs are {', '.join(outputs)}"
            )
        if gate.needs_labels and not has_labels and not (has_metric and gate.metric == _RATIO):
            raise DataError(
                f"budget {gate.expression!r} needs labels: add an array `labels` to the evaluation data, or give a"
                " budget on sqnr_db, rel_l2 or another fidelity"
            )
    return Budget(gates)
