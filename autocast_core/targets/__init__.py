"""Fitting a plan to what a target engine accepts."""
