"""Rule `free`: which nodes compute in FP32 inside a kernel, where that adds no kernel and little traffic.

An operator in FP32 between two Casts, fused with its neighbours, reads and writes 16 bits and computes in FP32. What
counts is not how many nodes are FP32 but what crosses kernels in FP32. `settle` chooses by a model of the noise that a
rounding makes and one of the bytes that cross, and checks the choice by an engine's view, or by the model of fusion.
"""

from autocast_core.decide.inside_kernels.crossings import cast_ends
from autocast_core.decide.inside_kernels.settle import Look, settle

__all__ = ["Look", "cast_ends", "settle"]
