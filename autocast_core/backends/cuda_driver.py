"""The few calls of the CUDA driver that running an engine needs, so that no CUDA package has to be installed.

Source of names and signatures: CUDA Driver API reference (cuda.h). The device's primary context is used, the one that
the CUDA runtime inside TensorRT uses too.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

_Handle = ctypes.c_void_p
_Pointer = ctypes.c_uint64
_Size = ctypes.c_size_t
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cuInit": (ctypes.c_uint,),
    "cuDeviceGetCount": (ctypes.POINTER(ctypes.c_int),),
    "cuDeviceGet": (ctypes.POINTER(ctypes.c_int), ctypes.c_int),
    "cuDeviceGetName": (ctypes.c_char_p, ctypes.c_int, ctypes.c_int),
    "cuDeviceGetAttribute": (ctypes.POINTER(ctypes.c_int), ctypes.c_int, ctypes.c_int),
    "cuDriverGetVersion": (ctypes.POINTER(ctypes.c_int),),
    "cuDevicePrimaryCtxRetain": (ctypes.POINTER(_Handle), ctypes.c_int),
    "cuDevicePrimaryCtxRelease_v2": (ctypes.c_int,),
    "cuCtxSetCurrent": (_Handle,),
    "cuMemGetInfo_v2": (ctypes.POINTER(_Size), ctypes.POINTER(_Size)),
    "cuMemAlloc_v2": (ctypes.POINTER(_Pointer), _Size),
    "cuMemFree_v2": (_Pointer,),
    "cuMemcpyHtoD_v2": (_Pointer, ctypes.c_void_p, _Size),
    "cuMemcpyDtoH_v2": (ctypes.c_void_p, _Pointer, _Size),
    "cuStreamCreate": (ctypes.POINTER(_Handle), ctypes.c_uint),
    "cuStreamSynchronize": (_Handle,),
    "cuStreamDestroy_v2": (_Handle,),
    "cuEventCreate": (ctypes.POINTER(_Handle), ctypes.c_uint),
    "cuEventRecord": (_Handle, _Handle),
    "cuEventSynchronize": (_Handle,),
    "cuEventElapsedTime": (ctypes.POINTER(ctypes.c_float), _Handle, _Handle),
    "cuEventDestroy_v2": (_Handle,),
    "cuGetErrorString": (ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)),
}


class CudaError(RuntimeError):
    """A call of the CUDA driver failed; its message."""


def has_driver() -> bool:
    """Whether an NVIDIA driver with a device answers: classic TensorRT crashes where none does."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int()
    return cuda.cuInit(0) == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


def first_device() -> str:
    """The name of the first visible GPU; empty where there is none."""
    if not has_driver():
        return ""
    cuda = ctypes.CDLL("libcuda.so.1")
    device, text = ctypes.c_int(), ctypes.create_string_buffer(256)
    cuda.cuDeviceGet(ctypes.byref(device), 0)
    cuda.cuDeviceGetName(text, len(text), device)
    return text.value.decode()


class Device:
    """The first visible GPU. Everything that was allocated is freed by `close`. Methods raise CudaError."""

    def __init__(self, library: str = "libcuda.so.1") -> None:
        self._cuda = ctypes.CDLL(library)
        for name, types in _SIGNATURES.items():
            getattr(self._cuda, name).argtypes = types
        self._call("cuInit", 0)
        number, context, stream = ctypes.c_int(), _Handle(), _Handle()
        self._call("cuDeviceGet", ctypes.byref(number), 0)
        self._number = number.value
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._number)
        self._call("cuCtxSetCurrent", context)
        self._call("cuStreamCreate", ctypes.byref(stream), 0)
        self._stream = stream
        self._allocated: set[int] = set()

    @property
    def stream(self) -> int:
        """The handle of the stream that everything runs on."""
        return int(self._stream.value or 0)

    @property
    def name(self) -> str:
        text = ctypes.create_string_buffer(256)
        self._call("cuDeviceGetName", text, len(text), self._number)
        return text.value.decode()

    @property
    def compute_capability(self) -> str:
        """For example ``9.0``."""
        return ".".join(str(self._attribute(which)) for which in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR))

    @property
    def driver(self) -> str:
        """The newest CUDA version that the driver supports, for example ``CUDA 13.0``."""
        version = ctypes.c_int()
        self._call("cuDriverGetVersion", ctypes.byref(version))
        return f"CUDA {version.value // 1000}.{version.value % 1000 // 10}"

    def free_bytes(self) -> int:
        """Free memory of the device, in bytes."""
        free, total = _Size(), _Size()
        self._call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value

    def allocate(self, size: int) -> int:
        """The address of `size` bytes (at least one) of device memory."""
        pointer = _Pointer()
        self._call("cuMemAlloc_v2", ctypes.byref(pointer), max(1, size))
        self._allocated.add(pointer.value)
        return pointer.value

    def free(self, pointer: int) -> None:
        """Gives back what `allocate` gave."""
        self._allocated.discard(pointer)
        self._call("cuMemFree_v2", pointer)

    def write(self, pointer: int, array: np.ndarray) -> None:
        """Copies a contiguous array to the device."""
        if array.nbytes:
            self._call("cuMemcpyHtoD_v2", pointer, array.ctypes.data, array.nbytes)

    def read(self, array: np.ndarray, pointer: int) -> None:
        """Fills a contiguous array from the device."""
        if array.nbytes:
            self._call("cuMemcpyDtoH_v2", array.ctypes.data, pointer, array.nbytes)

    def synchronize(self) -> None:
        """Waits until the stream has done everything."""
        self._call("cuStreamSynchronize", self._stream)

    def milliseconds(self, work: Callable[[], None]) -> float:
        """How long the device takes for what `work` puts into the stream."""
        begin, end, taken = _Handle(), _Handle(), ctypes.c_float()
        for event in (begin, end):
            self._call("cuEventCreate", ctypes.byref(event), 0)
        try:
            self._call("cuEventRecord", begin, self._stream)
            work()
            self._call("cuEventRecord", end, self._stream)
            self._call("cuEventSynchronize", end)
            self._call("cuEventElapsedTime", ctypes.byref(taken), begin, end)
        finally:
            for event in (begin, end):
                self._call("cuEventDestroy_v2", event)
        return taken.value

    def close(self) -> None:
        """Frees memory and stream, and lets the context go."""
        for pointer in list(self._allocated):
            self.free(pointer)
        self._call("cuStreamDestroy_v2", self._stream)
        self._call("cuDevicePrimaryCtxRelease_v2", self._number)

    def _attribute(self, which: int) -> int:
        value = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(value), which, self._number)
        return value.value

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._cuda, name)(*arguments)
        if code:
            text = ctypes.c_char_p()
            self._cuda.cuGetErrorString(code, ctypes.byref(text))
            raise CudaError(f"{name}: {(text.value or b'unknown error').decode()} (cudaError {code})")
