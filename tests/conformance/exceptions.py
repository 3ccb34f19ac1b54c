"""The operator cases that have no right answer in 16 bits, each with the reason why.

But for those in REFUSED they must convert to a valid model that keeps its contract all the same.
"""

from __future__ import annotations

_RANDOM = "draws random numbers, whose bits depend on the element type"
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

REFUSED: dict[str, str] = {
    "test_scan_sum": "Scan of opset 8 has a batch dimension, and ONNX's version converter cannot raise it to opset 9: "
    "the converter says so and names the operator",
}
"""Cases that must be refused with UnconvertibleError."""

MISJUDGED: dict[str, str] = {
    "test_mvn": "without axes onnx cannot make the function body of MeanVarianceNormalization, so its full check "
    "refuses the original, which runs",
}
"""Valid cases that onnx.checker's full check refuses; they are judged as all others."""
