"""Recipes: what was learnt about a family of models, kept by pattern and used for others of the family.

A recipe is made from plans (autocast_core.pipeline.learnt.recipe_of_plan) and asked by two rules of the registry
(autocast_core.decide.rules.recipe). `library/` holds those that come with the project.
"""

from autocast_core.recipes.matching import DecisionMatcher
from autocast_core.recipes.recipe import (
    Recipe,
    RecipeDecision,
    RecipeMeasurement,
    library,
    library_recipe,
    read_recipe,
    recipe_of,
)

__all__ = [
    "DecisionMatcher",
    "Recipe",
    "RecipeDecision",
    "RecipeMeasurement",
    "library",
    "library_recipe",
    "read_recipe",
    "recipe_of",
]
