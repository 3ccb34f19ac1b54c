"""The registry: every rule that a plan may name, in the order in which they run.

Adding a rule takes a file in this folder with a RuleEntry, the entry's import here, and its line in RULES. Whatever
depends on a rule (order, what a search or a re-used plan may change, the list in the documentation) follows from its
entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from autocast_core.decide.rule import Override, RuleEntry
from autocast_core.decide.rules.custom import CUSTOM
from autocast_core.decide.rules.default import DEFAULT
from autocast_core.decide.rules.dynamic_quantization import DYNAMIC_QUANTIZATION
from autocast_core.decide.rules.earlier_conversion import EARLIER_CONVERSION
from autocast_core.decide.rules.later_stages import (
    ATTENTION_CORE,
    FREE,
    PLACEMENT,
    RANGE,
    RELEASE,
    REPAIR,
    SEARCH,
    TARGET,
)
from autocast_core.decide.rules.legality import ALREADY_LOW, LEGALITY, NO_FLOAT, PLUGIN_PRECISION
from autocast_core.decide.rules.names import INCLUDE, NODE_NAME, OPERATOR_TYPE
from autocast_core.decide.rules.neighbours import NEIGHBOURS
from autocast_core.decide.rules.numeric.angles import ANGLES
from autocast_core.decide.rules.numeric.conditioning import CONDITIONING
from autocast_core.decide.rules.numeric.guards import GUARDS
from autocast_core.decide.rules.numeric.headroom import HEADROOM
from autocast_core.decide.rules.numeric.initializer_range import INITIALIZER_RANGE
from autocast_core.decide.rules.numeric.io_range import IO_RANGE
from autocast_core.decide.rules.numeric.reduction_depth import REDUCTION_DEPTH
from autocast_core.decide.rules.numeric.shape_arithmetic import SHAPE_ARITHMETIC
from autocast_core.decide.rules.numeric.small_values import SMALL_VALUES
from autocast_core.decide.rules.numeric.whole_numbers import WHOLE_NUMBERS
from autocast_core.decide.rules.quantization_pair import QUANTIZATION_PAIR
from autocast_core.decide.rules.recipe import RECIPE, RECIPE_LOW
from autocast_core.decide.rules.upcast_attention import UPCAST_ATTENTION

__all__ = [
    "ATTENTION_CORE",
    "CUSTOM",
    "DEFAULT",
    "FREE",
    "GUARDS",
    "INCLUDE",
    "INITIALIZER_RANGE",
    "IO_RANGE",
    "NEIGHBOURS",
    "PLACEMENT",
    "RANGE",
    "RELEASE",
    "REPAIR",
    "RULES",
    "SEARCH",
    "SMALL_VALUES",
    "TARGET",
    "entry_of",
    "rules_table",
]

RULES: tuple[RuleEntry, ...] = (
    NO_FLOAT,
    PLUGIN_PRECISION,
    LEGALITY,
    INCLUDE,
    NODE_NAME,
    OPERATOR_TYPE,
    ALREADY_LOW,
    EARLIER_CONVERSION,
    DYNAMIC_QUANTIZATION,
    UPCAST_ATTENTION,
    GUARDS,
    SHAPE_ARITHMETIC,
    WHOLE_NUMBERS,
    ANGLES,
    HEADROOM,
    INITIALIZER_RANGE,
    REDUCTION_DEPTH,
    CUSTOM,
    RECIPE,
    RECIPE_LOW,
    IO_RANGE,
    SMALL_VALUES,
    CONDITIONING,
    DEFAULT,
    RANGE,
    ATTENTION_CORE,
    NEIGHBOURS,
    QUANTIZATION_PAIR,
    FREE,
    SEARCH,
    REPAIR,
    RELEASE,
    PLACEMENT,
    TARGET,
)
"""The first rule that applies to a node decides it. Then the groups of rules that have some are brought to one
precision, in the same order."""

_BY_NAME: Mapping[str, RuleEntry] = MappingProxyType({entry.name: entry for entry in RULES})


def entry_of(rule: str) -> RuleEntry:
    """The entry of the rule that a plan names; any other name is that of a custom rule."""
    return _BY_NAME.get(rule, CUSTOM)


def rules_table() -> str:
    """The registry as a Markdown table: order, name, outcome, when the rule applies, what may decide otherwise.

    Rules that check single nodes are numbered in the order in which they run.
    """
    lines = ["| Order | Rule | Makes a node | Applies where | May be overridden by |", "|---|---|---|---|---|"]
    for number, entry in enumerate(RULES, 1):
        when = str(number) if entry.build is not None else "groups" if entry.groups is not None else "later"
        overrides = ", ".join(override for override in Override if entry.may_be_overridden_by(override)) or "nothing"
        rule = f"{entry.title}: `{entry.name}`"
        lines.append(f"| {when} | {rule} | {entry.outcome} | {entry.description} | {overrides} |")
    return "\n".join(lines) + "\n"
