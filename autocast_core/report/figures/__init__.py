"""Sections of the report that draw: ranges, fronts, engines."""
