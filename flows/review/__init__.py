"""Registered versions checked and promoted."""
