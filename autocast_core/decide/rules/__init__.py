"""The rules that keep a node in FP32, one a file."""
