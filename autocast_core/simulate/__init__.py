"""Simulation: an FP32 graph that computes what a 16-bit model computes on hardware, for runtimes that do not.

ONNX Runtime's CPU provider runs 16-bit graphs in FP32 and drops the roundings between nodes, and it has no BF16
kernels. A Cast from FP32 to 16 bits and back in an FP32 graph is kept at every optimisation level and rounds to nearest
even, bit for bit as numpy and ml_dtypes do.

What is modelled: every tensor that the model stores in 16 bits (inputs, weights, each node's outputs, loop state) is
rounded to its format, overflow becoming infinity and underflow subnormal numbers or zero, while each node computes and
accumulates in FP32, as tensor cores do. What is not: accumulation in 16 bits (`accumulation` gives bounds), kernels
fused across nodes (which round less often than the graph says), flushing of subnormals, and the order of sums, which
differs between devices anyway.
"""

from autocast_core.simulate.accumulation import ATTENTION, Accumulate, attention_products, modelled_types
from autocast_core.simulate.naive import round_everything
from autocast_core.simulate.simulate import simulate, simulate_in_place

__all__ = [
    "ATTENTION",
    "Accumulate",
    "attention_products",
    "modelled_types",
    "round_everything",
    "simulate",
    "simulate_in_place",
]
