"""Prefect tasks around the converter, and the rooms for isolation, storage and tracking."""
