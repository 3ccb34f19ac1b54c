"""The gates of a conversion whose user gave none: they refuse what is ruined. See infra/docs/gates-and-metrics.md.

- Float outputs: the signal-to-noise ratio of each output in each batch.
- Outputs called logits, and those that labels belong to: how often both models choose the same class.
- Outputs of integers, booleans or strings: how many elements are equal, over all batches and in each.
- NaN and infinity: none that the original does not have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from autocast_core.config import Precision
from autocast_core.evaluate.class_scores import is_called_logits
from autocast_core.evaluate.gates import NO_NEW_NONFINITE, Gate, parse_gate
from autocast_core.evaluate.metric_names import WORST_BATCH, of_task, of_worst_batch, of_worst_output, own_name

SQNR_DB = MappingProxyType({Precision.FP16: 40, Precision.BF16: 22})
"""Of each output in each batch. FP16 has three more significant bits than BF16, and each of them halves a rounding
error: 40 dB - 3 * 20 log10(2) dB = 21.9 dB are as many roundings, as little amplified."""
AGREEMENT = MappingProxyType({Precision.FP16: 0.95, Precision.BF16: 0.75})
"""Of classes and of elements: what untrained models, whose classes are nearly tied, reach at that ratio."""
BATCH_AGREEMENT = 0.5


def default_gates(precision: Precision, metrics: Mapping[str, float], names: Mapping[str, str]) -> tuple[str, ...]:
    """The gates for what was measured: `metrics` by their logged names, `names` those of outputs in them, in the order
    of the outputs (Fidelity.names)."""
    limit = AGREEMENT[precision]
    return (
        *_ratio_gates(SQNR_DB[precision], metrics, names),
        *_class_gates(limit, metrics, names),
        *((f"equal_share>={limit:g}",) if of_worst_output("equal_share") in metrics else ()),
        *((f"{WORST_BATCH}.equal_share>={BATCH_AGREEMENT:g}",) if of_worst_batch("equal_share") in metrics else ()),
        NO_NEW_NONFINITE,
    )


@dataclass(frozen=True)
class AskedGates:
    """What a converted model must reach: `expressions`; without any, and with `keep_default` beside them, the default
    gates. On seeded random data no gate passes without `allow_random`."""

    expressions: tuple[str, ...] = ()
    keep_default: bool = False
    allow_random: bool = True

    @property
    def judges(self) -> tuple[str, ...]:
        """The judges that the expressions speak of. ConfigError as `parse_gate`."""
        named = (parse_gate(expression).judge for expression in self.expressions)
        return tuple(dict.fromkeys(judge for judge in named if judge is not None))

    def parsed(self, precision: Precision, metrics: Mapping[str, float], names: Mapping[str, str]) -> tuple[Gate, ...]:
        """The gates for what was measured, see `default_gates`. ConfigError as `parse_gate`."""
        defaults = default_gates(precision, metrics, names) if self.keep_default or not self.expressions else ()
        return tuple(map(parse_gate, dict.fromkeys((*self.expressions, *defaults))))


DEFAULT_GATES = AskedGates()


def _ratio_gates(limit: float, metrics: Mapping[str, float], names: Mapping[str, str]) -> Iterator[str]:
    """None where there is nothing but integers, or nothing but NaN and infinity, which has a gate of its own."""
    other = of_worst_output("equal_share") in metrics or metrics.get(of_worst_output("nonfinite"), 0.0) > 0.0
    floats = (output for output in names if own_name(output, "equal_share", names) not in metrics)
    if not other or any(own_name(output, "sqnr_db", names, worst_batch=True) in metrics for output in floats):
        yield f"{WORST_BATCH}.sqnr_db>={limit:g}"


def _class_gates(limit: float, metrics: Mapping[str, float], names: Mapping[str, str]) -> Iterator[str]:
    for number, output in enumerate(names):
        holds_classes = is_called_logits(output) or (of_task("top1") in metrics and not number)
        can_be_written = not set("<>=") & set(output)
        if holds_classes and can_be_written and own_name(output, "top1_agreement", names) in metrics:
            yield f"{output}.top1_agreement>={limit:g}"
