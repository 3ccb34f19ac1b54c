"""What a rule is: its interface, what it returns, and its entry in the registry (`autocast_core.decide.rules`)."""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import onnx_ir as ir

from autocast_core.config import ConversionConfig, Precision
from autocast_core.decide.groups import NodeGroup
from autocast_core.decide.node_facts import NodeFacts
from autocast_core.plan import Evidence

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RuleMatch:
    """Why a rule applies to a node: a sentence for the plan and the measured quantities behind it."""

    reason: str
    evidence: tuple[Evidence, ...] = ()


@runtime_checkable
class Rule(Protocol):
    """Looks at one node and says why it applies to it (for most rules: why the node should stay in FP32), or None.

    A custom rule is any object with a `name`, which plans record, and such a `check`; it runs after all rules but those
    that a release may override.
    """

    name: str

    def check(self, facts: NodeFacts) -> RuleMatch | None:
        """Why the rule applies to the node; None where it does not."""
        ...


class NodeRuleBase:
    """AutoCast's interface for custom rules: a subclass says in `_check_inner` whether a node must stay in FP32.

    `_check_inner` gets an onnx.NodeProto, as AutoCast's rules do, and returns True to keep the node in FP32; then
    `_log_skipped` is called, which a subclass may define to log more.
    """

    def check(self, node: Any) -> bool:
        """Whether the node must stay in FP32. NotImplementedError where a subclass defines no `_check_inner`."""
        if not self._check_inner(node):
            return False
        self._log_skipped(node)
        return True

    def _log_skipped(self, node: Any, **kwargs: Any) -> None:
        logger.info("%s keeps node %s in FP32", type(self).__name__, node.name)

    def _check_inner(self, node: Any) -> bool:
        raise NotImplementedError(f"{type(self).__name__} must define _check_inner(node)")


class Outcome(enum.StrEnum):
    """The precision of a node to which a rule applies."""

    NONE = "no precision"
    FP32 = "FP32"
    LOW = "low"
    DECLARED = "as declared"
    """The type that the source model has, or that ``trt_plugins_precision`` names."""
    EITHER = "FP32 or low"
    """What the later stage that records the rule says."""


class Override(enum.StrEnum):
    """What may decide a node otherwise than the rule that the plan records."""

    INCLUDE = "include options"
    SEARCH = "a search"
    RELEASE = "a release"
    """What a measured decision lowers because keeping it gains nothing."""
    NEW_WEIGHTS = "a re-used plan"
    """Re-using a plan for a checkpoint whose weights exceed ``init_max``."""


BuildRule = Callable[[ir.Model, ConversionConfig], Rule | None]
"""Makes the rule for a sanitized model and a configuration; None where it could not apply to any node."""

FindGroups = Callable[[Mapping[str, ir.Node]], Iterable[NodeGroup]]
"""Finds groups of nodes that need one precision among nodes by id."""


@dataclass(frozen=True)
class RuleEntry:
    """A rule as the registry declares it.

    - `name`: what plans record under ``rule``. Plans are users' files: a name never changes.
    - `title`: the rule's name in prose; `description`: one sentence that says to which nodes it applies.
    - `outcome`: the precision it decides on; `overridden_by`: what may decide such a node otherwise.
    - `build`: makes the check that `decide` runs on every node; None for a rule that checks no single node.
    - `exact_operands`: what the rule keeps must not read rounded numbers, graph inputs among them.
    - `groups`: finds nodes that need one precision: where one of a group is FP32, all are, by this rule.
    - `about_range`: what it keeps in FP32 needs more range than FP16 has, and no more precision.
    - `from_data`: it looks at what was measured, so that without such data it would not decide so; see recipes.

    A rule with neither `build` nor `groups` is recorded once every node is decided: by `decide` for neighbours and for
    range, by a later stage such as a search.
    """

    name: str
    title: str
    description: str
    outcome: Outcome
    overridden_by: frozenset[Override]
    build: BuildRule | None = None
    groups: FindGroups | None = None
    exact_operands: bool = False
    about_range: bool = False
    from_data: bool = False

    def precision_of(self, facts: NodeFacts) -> Precision:
        """The precision of a node to which the rule applies.

        ValueError where the rule leaves it to a declaration that the node lacks, or to a later stage.
        """
        precision: Precision | None = None
        match self.outcome:
            case Outcome.NONE:
                precision = Precision.NONE
            case Outcome.FP32:
                precision = Precision.FP32
            case Outcome.LOW:
                precision = facts.operands.current or facts.precision
            case Outcome.DECLARED:
                precision = facts.operands.current or facts.operands.demanded
        if precision is None:
            raise ValueError(f"rule {self.name!r} does not say the precision of {facts.id}")
        return precision

    def may_be_overridden_by(self, override: Override) -> bool:
        """Whether `override` may decide a node otherwise that this rule has decided."""
        return override in self.overridden_by

    @property
    def is_binding(self) -> bool:
        """Whether nothing may decide such a node otherwise, neither an option that names nodes nor a later stage."""
        return not self.overridden_by

    @property
    def binds_low(self) -> bool:
        """Whether a low node that this rule has decided stays low whatever its weights are."""
        return self.outcome in (Outcome.LOW, Outcome.DECLARED) and Override.NEW_WEIGHTS not in self.overridden_by


NOTHING: frozenset[Override] = frozenset()
"""For `RuleEntry.overridden_by`: binding."""
INCLUDE_ONLY = frozenset({Override.INCLUDE})
"""For rules whose FP32 no measurement may overturn: what the user asked for, and what must be exact."""
INCLUDE_OR_SEARCH = frozenset({Override.INCLUDE, Override.SEARCH})
"""For rules that propose FP32: a search measures instead whether the node needs it."""
SOFT = INCLUDE_OR_SEARCH | {Override.RELEASE}
"""For rules about rounding, and for ``data_max``, beside which `headroom` sees to the range: what they keep is released
where measuring shows that it gains nothing. They stand behind all others that keep nodes, so no other rule keeps a node
for which a plan names one of them."""
