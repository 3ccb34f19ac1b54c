"""The operator cases that have no right answer in 16 bits, each with the reason why.

They must convert to a valid model that keeps its contract all the same.
"""

from __future__ import annotations

_RANDOM = "draws random numbers, whose bits depend on the element type"
_SUMS = "the reference evaluator adds thousands of BF16 numbers up in BF16, where the sum stops growing"
_OWN_SCALE = "computes its quantisation scale in 16 bits and outputs codes, which then move by at most one step"

NO_RIGHT_ANSWER: dict[str, str] = {
    "test_bernoulli_double": _RANDOM,
    "test_bernoulli_double_expanded": _RANDOM,
    "test_dequantizelinear_e5m2": "its result 98304 is beyond FP16, and no runtime here can run the original, so that "
    "calibration cannot see it",
}

ONE_CODE: dict[str, str] = {
    "test_dynamicquantizelinear_expanded": _OWN_SCALE,
    "test_dynamicquantizelinear_max_adjusted_expanded": _OWN_SCALE,
    "test_dynamicquantizelinear_min_adjusted_expanded": _OWN_SCALE,
}
"""Cases whose integer outputs may be off by one, floats within the tolerance as ever."""

MISJUDGED: dict[str, str] = {
    "test_mvn": "without axes onnx cannot make the function body of MeanVarianceNormalization, so its full check "
    "refuses the original, which runs",
}
"""Valid cases that onnx.checker's full check refuses; they are judged as all others."""

ENGINES_DISAGREE: dict[str, str] = {
    "test_maxpool_with_argmax_2d_precomputed_pads": "the reference evaluator's indices of a padded maximum of BF16 "
    "numbers are negative and repeat; the maxima are right",
    "test_nllloss_NCd1d2d3d4d5_mean_weight": _SUMS,
    "test_range_float_type_positive_delta": "ONNX Runtime gives a Range of BF16 numbers a second dimension",
    "test_sce_NCd1d2d3d4d5_mean_weight": _SUMS,
    "test_sce_NCd1d2d3d4d5_mean_weight_expanded": _SUMS,
    "test_sce_NCd1d2d3d4d5_mean_weight_log_prob": _SUMS,
    "test_sce_NCd1d2d3d4d5_mean_weight_log_prob_expanded": _SUMS,
}
"""Cases whose conversion one engine calls accurate and another does not, and what is wrong with the other."""
