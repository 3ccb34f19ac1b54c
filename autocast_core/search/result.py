"""What a search found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autocast_core.evaluate import GateResult
from autocast_core.plan import PrecisionPlan
from autocast_core.process.notebook_hook import notebook_html
from autocast_core.search.attribution import Attribution
from autocast_core.search.trials import Trial


@dataclass(frozen=True)
class CertificateEntry:
    """The measurement that shows why `node` is kept: the final plan with that node lowered as well.

    `failing` are the budgets that it misses. `lowered` names all nodes that went with it: itself, those that cannot
    have another precision than it and, in a row of equal blocks, those at the same place of the others. `error` says
    why a runtime could not run that model. The node `costs` what lowering them would save of the search's cost, in
    `unit`: 0 or less where Casts beside them (of an estimated time, kernels around them) would cost more, which is then
    why it is kept. They buy `buys_db` of SQNR on the worst output; None where that is not a number.
    """

    node: str
    lowered: tuple[str, ...]
    failing: tuple[GateResult, ...]
    metrics: Mapping[str, float]
    error: str | None = None
    costs: float = 1.0
    unit: str = "nodes"
    buys_db: float | None = None

    def price(self) -> str:
        """What the node costs and buys, in words."""
        amount = f"{abs(self.costs):,.0f}" if float(self.costs).is_integer() else f"{abs(self.costs):.3g}"
        unit = "node" if (amount, self.unit) == ("1", "nodes") else self.unit
        if self.costs > 0:
            price = f"costs {amount} {unit}"
        else:
            price = f"saves {amount} {unit}" + (" of Casts beside it" if unit == "bytes" else " of kernels around it")
        if self.buys_db is None:
            return price
        return f"{price} and {'buys' if self.buys_db >= 0 else 'loses'} {abs(self.buys_db):.2f} dB"


@dataclass(frozen=True)
class ParetoPoint:
    """A plan that no other plan of its front beats in cost (in `unit`) or in the SQNR of the worst output (dB) without
    losing in the other. `kept_fp32` are the nodes that the search keeps for it."""

    plan: PrecisionPlan
    kept_fp32: tuple[str, ...]
    cost: float
    unit: str
    sqnr_db: float


@dataclass(frozen=True)
class SearchResult:
    """The best plan of a search.

    `kept_fp32` are the nodes that the search keeps (those that no plan may lower are not among them), most important
    first; `metrics` those of the plan; `noise_floor` those of the all-FP32 plan, which differs from the reference by
    graph optimisation alone; `evaluations` counts every pass over the data, attribution, reference and certificate
    included. `certificate` has one entry a kept node where the search is `complete`; `stopped` says what ended it
    otherwise. `front` has the plans of a Pareto front where one was asked for, the cheapest first.
    """

    plan: PrecisionPlan
    kept_fp32: tuple[str, ...]
    metrics: Mapping[str, float]
    noise_floor: Mapping[str, float]
    budgets: tuple[GateResult, ...]
    certificate: tuple[CertificateEntry, ...]
    attribution: Attribution
    trials: tuple[Trial, ...]
    evaluations: int
    stopped: str | None = None
    front: tuple[ParetoPoint, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the plan is proven to be 1-minimal."""
        return self.stopped is None

    def _repr_html_(self) -> str:
        return notebook_html(self)
