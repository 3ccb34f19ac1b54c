"""Repair of a plan that misses its target: which nodes FP32 must hold, found with few evaluations."""
