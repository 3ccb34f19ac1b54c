"""Rounding FP32 weights to FP16 by ONNX Runtime's Cast kernel."""

from __future__ import annotations

import numpy as np
import onnx

from autocast_core.model.rounding import round_block

_WORTHWHILE = 4096
_CAST = """<ir_version: 8, opset_import: ["" : 17]> cast (float[n] x) => (float16[n] y) { y = Cast <to = 10> (x) }"""


class OnnxRuntimeRounding:
    """A RoundBlock: large blocks go through a session of one Cast, everything else through round_block.

    The kernel rounds to nearest even, with the same bits as numpy, subnormals, infinities and NaN included (a test
    compares them), in a fifth of the time.
    """

    def __init__(self) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        model = onnx.parser.parse_model(_CAST).SerializeToString()
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._binding = self._session.io_binding()

    def __call__(self, source: np.ndarray, target: np.ndarray) -> None:
        """Round `source` into `target`; both 1-d and of one size."""
        if source.dtype != np.float32 or target.dtype != np.float16 or source.size < _WORTHWHILE:
            round_block(source, target)
            return
        self._binding.bind_input("x", "cpu", 0, np.float32, source.shape, source.ctypes.data)
        self._binding.bind_output("y", "cpu", 0, np.float16, target.shape, target.ctypes.data)
        self._session.run_with_iobinding(self._binding)
