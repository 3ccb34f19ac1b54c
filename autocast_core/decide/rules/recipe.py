"""Decide a node as a recipe says: what was measured on other models of its family.

- Looks at the node's operator, its names and what it reads and is read by; not at data.
- Asked behind all rules that bind and those about range, in front of those that a release may override.
"""

from __future__ import annotations

import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.decide.node_facts import NodeFacts
from autocast_core.decide.rule import INCLUDE_OR_SEARCH, Outcome, Override, RuleEntry, RuleMatch
from autocast_core.recipes import DecisionMatcher, Recipe, recipe_of


class RecipeRule:
    """Applies where a decision of the recipe for the conversion's 16-bit type is about the node."""

    def __init__(self, name: str, recipe: Recipe, matcher: DecisionMatcher) -> None:
        self.name = name
        self._recipe, self._matcher = recipe, matcher

    def check(self, facts: NodeFacts) -> RuleMatch | None:
        if facts.operands.is_fixed:
            return None
        found = self._matcher.match(facts.node, facts.names)
        return None if found is None else RuleMatch(f"recipe {self._recipe.name}: {found.reason}")


def _build(name: str, precision: str, config: ConversionConfig) -> RecipeRule | None:
    if config.recipe is None:
        return None
    recipe = recipe_of(config.recipe)
    decisions = [each for each in recipe.for_type(config.precision) if each.precision == precision]
    return RecipeRule(name, recipe, DecisionMatcher(decisions)) if decisions else None


def _build_fp32(model: ir.Model, config: ConversionConfig) -> RecipeRule | None:
    return _build("recipe", "fp32", config)


def _build_low(model: ir.Model, config: ConversionConfig) -> RecipeRule | None:
    return _build("recipe_low", "low", config)


RECIPE = RuleEntry(
    name="recipe",
    title="a recipe that keeps it",
    description="The `recipe` says that such a node needs FP32 in models of this family.",
    outcome=Outcome.FP32,
    overridden_by=INCLUDE_OR_SEARCH,
    build=_build_fp32,
)
RECIPE_LOW = RuleEntry(
    name="recipe_low",
    title="a recipe that lowers it",
    description="The `recipe` says that in models of this family such a node loses nothing by 16 bits: rules that a"
    " release may override are not asked.",
    outcome=Outcome.LOW,
    overridden_by=frozenset({Override.SEARCH, Override.NEW_WEIGHTS}),
    build=_build_low,
)
