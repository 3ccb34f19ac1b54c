"""Operators that add up many elements inside, in a type that ONNX does not say: what a strongly typed engine computes
there in the type of the input."""

from __future__ import annotations

NORMALIZATIONS = frozenset(
    {"GroupNormalization", "InstanceNormalization", "LayerNormalization", "LpNormalization"}
    | {"MeanVarianceNormalization", "RMSNormalization", "SimplifiedLayerNormalization"}
    | {"SkipLayerNormalization", "SkipSimplifiedLayerNormalization"}
)
"""Mean, squares and their sum; of ONNX and of com.microsoft."""

SUMS = frozenset(
    {"ReduceSum", "ReduceMean", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp"}
    | {"GlobalAveragePool", "CumSum"}
)
"""Sums of elements, not of products."""

RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
"""State that is carried over steps."""

ROUNDS_INSIDE = NORMALIZATIONS | SUMS | RECURRENT | {"LogSoftmax"}
"""All of them, and LogSoftmax, which engines compute as Softmax and then Log."""
