"""Passes that put FP32 in the place of other float types."""
