"""Searching models of equal blocks by pattern first."""
