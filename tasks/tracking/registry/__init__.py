"""Registered model versions: made, found, compared with the one before; what a person asks of one by a tag."""
