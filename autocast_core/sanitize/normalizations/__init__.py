"""Normalizations that exporters took apart become one operator: passes `layernorm` and `rmsnorm`."""
