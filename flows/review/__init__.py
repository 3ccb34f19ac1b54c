"""Registered versions: their records, their verification, their promotion."""
