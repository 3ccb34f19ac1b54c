"""Whether an array's type fits an input, and the array in the input's type."""

from __future__ import annotations

import logging

import numpy as np
import onnx_ir as ir

from autocast_core.data.inputs import InputSpec
from autocast_core.errors import DataError
from autocast_core.number_formats import FLOAT_DTYPES

_LOG = logging.getLogger(__name__)


def check_type(dtype: np.dtype, spec: InputSpec, where: str) -> None:
    """DataError where no array of type `dtype` can be fed to the input: floats for integers and the reverse."""
    if not (dtype == spec.numpy or _castable(dtype, spec)):
        raise DataError(
            f"{where}: {spec.name!r} has type {dtype}; the model takes {spec}:"
            f" convert it with .astype({spec.numpy.name!r})"
        )


def fitted(array: np.ndarray, spec: InputSpec, where: str) -> np.ndarray:
    """`array` in the input's type: another width of its kind; DataError where an integer would change its value."""
    wanted = spec.numpy
    if array.dtype == wanted:
        return array
    check_type(array.dtype, spec, where)
    _LOG.debug("%s: %r cast from %s to %s", where, spec.name, array.dtype, wanted)
    if array.dtype.kind == "V":
        return array.view(wanted)
    if spec.dtype in FLOAT_DTYPES or array.dtype.kind == "U":
        with np.errstate(over="ignore"):
            return array.astype(wanted)
    cast = array.astype(wanted)
    if not np.array_equal(cast, array):
        raise DataError(f"{where}: {spec.name!r} has values beyond {wanted.name}; the model takes {spec}")
    return cast


def _castable(dtype: np.dtype, spec: InputSpec) -> bool:
    # numpy saves bfloat16 arrays as two raw bytes an element.
    if spec.dtype == ir.DataType.BFLOAT16 and dtype.kind == "V" and dtype.names is None:
        return dtype.itemsize == 2
    if spec.dtype in FLOAT_DTYPES:
        return dtype.kind == "f" or dtype.name in ("bfloat16", "float16")
    if spec.dtype == ir.DataType.STRING:
        return dtype.kind in "UO"
    if spec.dtype == ir.DataType.BOOL:
        return dtype.kind in "iu"
    return spec.dtype.is_integer() and dtype.kind in "iub"
