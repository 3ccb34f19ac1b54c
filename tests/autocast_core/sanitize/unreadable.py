"""A weight that a pass must leave unread."""

import numpy as np
import onnx_ir as ir


class Unreadable(ir.Tensor):
    """Raises where somebody asks for its values."""

    def numpy(self) -> np.ndarray:
        raise AssertionError("weight was read")

    def tobytes(self) -> bytes:
        raise AssertionError("weight was read")
