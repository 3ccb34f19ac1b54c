"""What the converter costs, against its peers and the least that a machine can do: python -m tests.benchmarks."""
