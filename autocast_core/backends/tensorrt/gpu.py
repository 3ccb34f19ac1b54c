"""Runs engines on a GPU, in the child process: outputs of every batch, paired times, memory, the inspector's JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from autocast_core.backends.cuda_driver import CudaError, Device
from autocast_core.text import one_line

_WARM_UP = 10
_NUMPY_TYPES: Mapping[str, Any] = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "FP8": ml_dtypes.float8_e4m3fn,
    "INT8": np.int8,
    "UINT8": np.uint8,
    "INT32": np.int32,
    "INT64": np.int64,
    "BOOL": np.bool_,
}
Emit = Callable[..., None]


class EngineError(RuntimeError):
    """An engine cannot be loaded or run; TensorRT's message."""


def execute(trt: Any, logger: Any, engines: Mapping[str, Any], trial: Mapping[str, Any], emit: Emit) -> None:
    """Runs every batch through each of `engines` (name to serialized engine), then times them in turns.

    Writes the outputs of batch I of engine NAME to ``NAME-I.npz`` in the trial's folder, floats as FP32, and emits
    device, ``loaded NAME``, ran and timed; stopped with the reason where that cannot be.
    """
    try:
        with closing(Device()) as device:
            emit("device", name=device.name, capability=device.compute_capability, driver=device.driver)
            _execute(trt, logger, engines, trial, device, emit)
    except (EngineError, CudaError, OSError) as error:
        emit("stopped", reason=str(error))


def _execute(
    trt: Any, logger: Any, engines: Mapping[str, Any], trial: Mapping[str, Any], device: Device, emit: Emit
) -> None:
    runtime = trt.Runtime(logger)
    folder, first = Path(trial["folder"]), _feeds(trial, 0)
    running: dict[str, LoadedEngine] = {}
    for name, serialized in engines.items():
        before = device.free_bytes()
        engine = LoadedEngine(trt, runtime, serialized, device, logger)
        engine.run(first)
        running[name] = engine
        emit(
            f"loaded {name}",
            outputs=engine.outputs,
            memory_bytes=max(0, before - device.free_bytes()),
            engine_bytes=serialized.nbytes,
            inspected=engine.inspected(),
        )
    for number in range(trial["batches"]):
        feeds = _feeds(trial, number)
        for name, engine in running.items():
            np.savez(folder / f"{name}-{number}.npz", *engine.run(feeds))
    emit("ran", batches=trial["batches"])
    emit("timed", milliseconds=_timed(running, first, device, trial["rounds"]))


def _feeds(trial: Mapping[str, Any], number: int) -> dict[str, np.ndarray]:
    with np.load(Path(trial["folder"]) / f"feeds-{number}.npz") as arrays:
        return {name: arrays[f"arr_{index}"] for index, name in enumerate(trial["inputs"])}


def _timed(
    running: Mapping[str, LoadedEngine], feeds: Mapping[str, np.ndarray], device: Device, rounds: int
) -> dict[str, list[float]]:
    """Milliseconds of each engine in each round; the engines take turns, so that clocks and heat meet them alike."""
    for engine in running.values():
        engine.bind(feeds)
        for _ in range(_WARM_UP):
            engine.enqueue()
    device.synchronize()
    times: dict[str, list[float]] = {name: [] for name in running}
    for number in range(rounds):
        order = [*running]
        for name in order if number % 2 else reversed(order):
            times[name].append(device.milliseconds(running[name].enqueue))
    return times


class LoadedEngine:
    """An engine on the device with an execution context and buffers. Methods raise EngineError and CudaError."""

    def __init__(self, trt: Any, runtime: Any, serialized: Any, device: Device, logger: Any) -> None:
        self._trt, self._device, self._logger = trt, device, logger
        self._engine = self._made(lambda: runtime.deserialize_cuda_engine(serialized), "the engine cannot be loaded")
        self._context = self._made(self._engine.create_execution_context, "the engine cannot be prepared")
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        self.inputs = [each for each in names if self._engine.get_tensor_mode(each) == trt.TensorIOMode.INPUT]
        self.outputs = [each for each in names if each not in self.inputs]
        self._buffers: dict[str, tuple[int, int]] = {}
        self._allocators: dict[str, Any] = {}

    def inspected(self) -> str:
        """The engine inspector's JSON."""
        inspector = self._engine.create_engine_inspector()
        return str(inspector.get_engine_information(self._trt.LayerInformationFormat.JSON))

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Every output in order, floats as FP32."""
        self.bind(feeds)
        self.enqueue()
        self._device.synchronize()
        return [self._fetched(name) for name in self.outputs]

    def bind(self, feeds: Mapping[str, np.ndarray]) -> None:
        """Copies the inputs to the device and gives every output a place."""
        for name in self.inputs:
            if name not in feeds:
                raise EngineError(f"the data has no input {name!r}")
            array = np.ascontiguousarray(feeds[name].astype(self._dtype(name)))
            if not self._context.set_input_shape(name, array.shape):
                raise EngineError(f"input {name!r} of shape {array.shape} is outside the optimisation profile")
            pointer = self._buffer(name, array.nbytes)
            self._device.write(pointer, array)
            self._context.set_tensor_address(name, pointer)
        for name in self.outputs:
            shape = tuple(self._context.get_tensor_shape(name))
            if min(shape, default=0) < 0:
                self._let_it_allocate(name)
            else:
                size = int(np.prod(shape, dtype=np.int64)) * self._dtype(name).itemsize
                self._context.set_tensor_address(name, self._buffer(name, size))

    def enqueue(self) -> None:
        """Puts one run into the stream."""
        if not self._context.execute_async_v3(self._device.stream):
            raise EngineError(self._said("the engine cannot be run"))

    def _fetched(self, name: str) -> np.ndarray:
        if name in self._allocators:
            shape, pointer = self._allocators[name].shape, self._allocators[name].pointer
        else:
            shape, pointer = tuple(self._context.get_tensor_shape(name)), self._buffers[name][0]
        array = np.empty(shape, self._dtype(name))
        self._device.read(array, pointer)
        is_float = array.dtype.kind == "f" or array.dtype in (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn)
        return array.astype(np.float32) if is_float else array

    def _dtype(self, name: str) -> np.dtype:
        kind: str = self._engine.get_tensor_dtype(name).name
        if kind not in _NUMPY_TYPES:
            raise EngineError(f"{name!r} has element type {kind}, which cannot be passed in or out")
        dtype: np.dtype = np.dtype(_NUMPY_TYPES[kind])
        return dtype

    def _buffer(self, name: str, size: int) -> int:
        pointer, capacity = self._buffers.get(name, (0, -1))
        if capacity < size:
            if capacity >= 0:
                self._device.free(pointer)
            pointer = self._device.allocate(size)
            self._buffers[name] = (pointer, size)
        return pointer

    def _let_it_allocate(self, name: str) -> None:
        """For an output whose size only its values decide."""
        if name not in self._allocators:
            self._allocators[name] = _output_allocator(self._trt, self._device)
            self._context.set_output_allocator(name, self._allocators[name])

    def _made(self, make: Callable[[], Any], what: str) -> Any:
        self._logger.errors.clear()
        made = make()
        if made is None:
            raise EngineError(self._said(what))
        return made

    def _said(self, what: str) -> str:
        message = one_line(" ".join(self._logger.errors))
        return f"{what}: {message}" if message else what


def _output_allocator(trt: Any, device: Device) -> Any:
    class Allocator(trt.IOutputAllocator):  # type: ignore[misc]
        """Memory for one output, as much as TensorRT asks for."""

        def __init__(self) -> None:
            super().__init__()
            self.pointer = 0
            self.capacity = -1
            self.shape: Sequence[int] = ()

        def reallocate_output(self, tensor_name: str, memory: int, size: int, alignment: int) -> int:
            if size > self.capacity:
                if self.capacity >= 0:
                    device.free(self.pointer)
                self.pointer, self.capacity = device.allocate(size), size
            return self.pointer

        def reallocate_output_async(self, tensor_name: str, memory: int, size: int, alignment: int, stream: int) -> int:
            return self.reallocate_output(tensor_name, memory, size, alignment)

        def notify_shape(self, tensor_name: str, shape: Sequence[int]) -> None:
            self.shape = tuple(shape)

    return Allocator()
