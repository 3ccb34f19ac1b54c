"""Stages that make a plan, or a better one of it."""
