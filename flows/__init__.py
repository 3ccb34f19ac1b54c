"""Prefect flows, the command line, and the bridge from registry events."""
