"""Recipes made of what conversions decided: patterns from plans, and what was measured of them."""
