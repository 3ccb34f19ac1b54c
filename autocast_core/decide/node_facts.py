"""What the rules know of one node.

Facts are named tuples: there is one for each node and tensor, and a frozen dataclass of so many fields takes three
times as long to make.
"""

from __future__ import annotations

from typing import NamedTuple

import onnx_ir as ir
from msgspec import UNSET

from autocast_core.calibrate.statistics import TensorStats
from autocast_core.config import Precision
from autocast_core.decide.exact_quantities.integer_ends import IntegerEnd
from autocast_core.decide.rounding.amplified_rounding import Amplification
from autocast_core.decide.rounding.guarded_nodes import Guard
from autocast_core.decide.rounding.vanishing_operands import Vanishing
from autocast_core.operators import Operands
from autocast_core.plan import Evidence


class TensorFacts(NamedTuple):
    """A float tensor that a node's precision would move; `stats` is None where nothing was measured.

    `is_weight`: an initializer or a Constant. `mask_end`: where the tensor carries an additive attention mask, at its
    lower end (-1) or its upper (1), so that nothing depends on the exact values there; 0 for any other tensor.
    `is_whole` and `is_position`: see exact_values.ExactValues; `is_angle`: an angle that grows (growing_angles).
    `is_absorbed`: what rounding loses of it is absorbed in the sums that it ends in (absorbed_rounding), where that was
    asked.
    `may_reach`: the magnitude with headroom, where that is beyond the low type's range (overflow_margins).
    """

    name: str
    stats: TensorStats | None
    is_weight: bool = False
    mask_end: int = 0
    is_whole: bool = False
    is_position: bool = False
    is_angle: bool = False
    may_reach: float | None = None
    is_absorbed: bool = False

    @property
    def is_mask(self) -> bool:
        """Whether the tensor carries a mask."""
        return self.mask_end != 0

    @property
    def masked_extreme(self) -> float:
        """The magnitude at the end where the mask is."""
        return (
            0.0
            if self.stats is None
            else max(0.0, self.mask_end * (self.stats.max if self.mask_end > 0 else self.stats.min))
        )

    @property
    def unmasked_extreme(self) -> float:
        """The magnitude at the end where no mask is."""
        return (
            0.0
            if self.stats is None
            else max(0.0, -self.mask_end * (self.stats.min if self.mask_end > 0 else self.stats.max))
        )


class NodeFacts(NamedTuple):
    """A node, how it stands to the low precision, and what is known of the tensors that would move with it.

    `names` are its own name and those of the nodes it was fused from. `makes_sizes`: see ExactValues.sizes.
    `integer_end`: where its results become integers (integer_ends).
    `guard`: the constant that the low type would lose between it and what it protects (guarded_nodes).
    `vanishing`: what may become zero at the node where it does harm (vanishing_operands).
    `amplification`: the operator that multiplies a rounding error at the node too much (amplified_rounding).
    """

    id: str
    node: ir.Node
    names: tuple[str, ...]
    operands: Operands
    tensors: tuple[TensorFacts, ...]
    precision: Precision
    makes_sizes: bool = False
    integer_end: IntegerEnd | None = None
    guard: Guard | None = None
    amplification: Amplification | None = None
    vanishing: Vanishing | None = None


def evidence_of(tensor: TensorFacts, limit: float | None = None, detail: str | None = None) -> Evidence:
    """The evidence that a tensor's statistics give."""
    stats = tensor.stats
    if stats is None:
        return Evidence(tensor=tensor.name, limit=limit, detail=detail)
    estimated = stats.estimated_absmax
    return Evidence(
        tensor.name, stats.min, stats.max, stats.absmax, limit, detail, UNSET if estimated is None else estimated
    )
