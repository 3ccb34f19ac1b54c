"""ONNX Runtime as a Runtime. The module is imported when the first session is opened."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from autocast_core.backends.onnxruntime.bfloat16 import has_bfloat16_outputs, with_readable_outputs
from autocast_core.backends.onnxruntime.kernels import open_with_kernels
from autocast_core.backends.onnxruntime.providers import (
    NAMES,
    RECORD_ASSIGNMENT,
    choose,
    missing,
    parse,
    used,
    warn_of_fallback,
)
from autocast_core.backends.onnxruntime.random_numbers import draws_without_seed, with_seeds
from autocast_core.errors import BackendError, ConfigError, MissingOperatorError
from autocast_core.graph.walk import all_nodes
from autocast_core.model import runtime_model
from autocast_core.model.protobuf.serialized_parts import Structure, structure_for_runtime, structure_of
from autocast_core.number_formats import LOW_DTYPES
from autocast_core.process.memory_limits import require_limits
from autocast_core.runtime import FeedsAhead, RuntimeModel
from autocast_core.text import one_line, visible

if TYPE_CHECKING:
    import onnx_ir as ir

logger = logging.getLogger(__name__)

_NUMPY_TYPES: Mapping[str, np.dtype] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(double)": np.dtype(np.float64),
    "tensor(bfloat16)": np.dtype(ml_dtypes.bfloat16),
}
_BFLOAT16 = "tensor(bfloat16)"
_BFLOAT16_NUMBER = 16  # onnx.TensorProto.BFLOAT16
_FATAL = 4
_START_BYTES, _THREAD_BYTES = 160 << 20, 8 << 20
"""What importing it and a first, small run take, rounded up, and the stack of each of its threads: with less it may end
the process without a word."""
_LONGEST_MESSAGE = 400
_UNKNOWN_OPERATOR = re.compile(r"(?P<domain>[^\s:]+):(?P<op_type>\w+)\(-?\d+\) is not a registered function/op")
_LATER_OPSET = re.compile(
    r"Opset (?P<opset>\d+) is under development.* domain (?P<domain>\S+) is till opset (?P<latest>\d+)", re.DOTALL
)


@dataclass(frozen=True)
class OnnxRuntime:
    """Opens models in ONNX Runtime.

    `providers` are AutoCast's names in order of preference: ``cpu``, ``cuda``, ``cuda:N``, ``trt``, ``trt:N``; the CPU
    is always the last resort for single nodes. None given: the CPU, and TensorRT before it for a model with a custom
    operator where this machine has it. `threads` is the size of the pool within an operator, None for one a core;
    `plugins` are libraries that TensorRT loads, `custom_op_libraries` those with custom operators for ONNX Runtime:
    with them only the CPU is chosen by itself. ConfigError for another provider name.
    """

    providers: tuple[str, ...] = ()
    threads: int | None = None
    plugins: tuple[str, ...] = ()
    custom_op_libraries: tuple[str, ...] = ()
    name: str = "onnxruntime"

    def __post_init__(self) -> None:
        for provider in self.providers:
            parse(provider)

    @cached_property
    def _available(self) -> tuple[str, ...]:
        """The providers of the installed ONNX Runtime; a warning is logged, once, for those that are missing."""
        import onnxruntime

        available = tuple(onnxruntime.get_available_providers())
        for name in missing(self.providers, available):
            logger.warning(
                "this onnxruntime has no %s: going on with %s; install onnxruntime-gpu to have it",
                name,
                ", ".join(available),
            )
        return available

    def open(
        self,
        model: ir.Model,
        *,
        exact: bool = False,
        few_runs: bool = False,
        one_thread: bool = False,
        content: RuntimeModel | None = None,
        batches: FeedsAhead | None = None,
    ) -> OrtSession:
        """A session; see Runtime. Weights that lie in files are mapped, not copied; `batches` are not looked at.

        With `few_runs` weights are not repacked and memory patterns not traced, which pays from about five runs on.
        Random operators without a seed draw the same numbers in every session. Where ONNX Runtime has no kernel at the
        model's opset, it runs the model at a lower one (see kernels), but for `content` and for models with 16-bit
        types that are not `exact`: there the question is whether it runs the model as it is.
        Logs a warning where ONNX Runtime lacks or cannot start a provider, and goes on with the others. ConfigError
        where it cannot load a library, MissingOperatorError where it lacks that of a custom operator, BackendError with
        its message where it rejects the model, InputError where a limit of this process leaves too little memory for
        ONNX Runtime to start.
        """
        if "onnxruntime" not in sys.modules:
            threads = 1 if one_thread else self.threads or _cores()
            require_limits(_START_BYTES + threads * _THREAD_BYTES, "ONNX Runtime")
        try:
            import onnxruntime
        except ImportError as error:
            raise BackendError(f"onnxruntime cannot be imported ({error}); install onnxruntime") from error
        providers = self.providers or (("cpu",) if self.custom_op_libraries else ())
        wanted = choose(providers, model, self._available, self.plugins)
        alone = wanted == [(NAMES["cpu"], {})]
        # Declared shapes help ONNX Runtime to optimize, and TensorRT asks for them; without, a session starts sooner.
        structure = structure_for_runtime if exact and alone else structure_of
        with _serialised(model, structure) if content is None else nullcontext(content) as given:
            options = self._options(onnxruntime, exact, few_runs, given.data_folder)
            if not alone:
                options.add_session_config_entry(RECORD_ASSIGNMENT, "1")
            if one_thread:
                options.intra_op_num_threads = 1
            as_it_is = not exact and _has_16_bit_types(model)
            if as_it_is:
                options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED

            def start(data: bytes) -> Any:
                try:
                    return onnxruntime.InferenceSession(data, options, providers=wanted)
                except Exception as error:  # ONNX Runtime has a dozen exception types without a common root
                    raise _refusal(error) from error

            data = with_seeds(given.bytes) if content is None and draws_without_seed(model) else given.bytes
            session = start(data) if as_it_is or content is not None else open_with_kernels(start, data)
        warn_of_fallback(wanted, session.get_providers())
        started = [each for each in wanted if each[0] in session.get_providers()]
        backend = f"{self.name}-{used(session, started)}"
        return OrtSession(session, backend, [(str(v.name), v.dtype) for v in model.graph.outputs], onnxruntime)

    def _options(self, onnxruntime: Any, exact: bool, few_runs: bool, folder: Path | None) -> Any:
        levels = onnxruntime.GraphOptimizationLevel
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _FATAL
        options.intra_op_num_threads = self.threads or _cores()
        # Threads that wait for work must not burn the cores that others need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.graph_optimization_level = levels.ORT_DISABLE_ALL if exact else levels.ORT_ENABLE_ALL
        # Tracing memory patterns costs seconds in graphs with thousands of outputs.
        options.enable_mem_pattern = not (exact or few_runs)
        if few_runs:
            options.add_session_config_entry("session.disable_prepacking", "1")
        if folder:
            options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
        for library in self.custom_op_libraries:
            try:
                options.register_custom_ops_library(str(Path(library).absolute()))
            except Exception as error:  # as above
                raise ConfigError(f"custom_op_libraries: {library} cannot be loaded: {_message(error)}") from error
        return options


def _serialised(model: ir.Model, structure: Callable[[ir.Model], Structure]) -> AbstractContextManager[RuntimeModel]:
    return runtime_model(structure(with_readable_outputs(model) if has_bfloat16_outputs(model) else model))


def _has_16_bit_types(model: ir.Model) -> bool:
    """Such a model must not pass the level EXTENDED: beyond it ONNX Runtime 1.32 dies of FP16 LSTMs on a CPU."""
    return any(value.dtype in LOW_DTYPES for node in all_nodes(model.graph) for value in node.outputs)


class OrtSession:
    """An open session; see Session. Inputs of another float width than the model's are rounded to the model's."""

    def __init__(
        self, session: Any, backend: str, outputs: Sequence[tuple[str, ir.DataType | None]], onnxruntime: Any
    ) -> None:
        self.backend = backend
        self._session = session
        self._onnxruntime = onnxruntime
        self._types = {item.name: item.type for item in session.get_inputs()}
        self.input_names: Sequence[str] = tuple(self._types)
        self.output_names: Sequence[str] = tuple(name for name, _ in outputs)
        self._bfloat16 = [dtype is not None and dtype.name == "BFLOAT16" for _, dtype in outputs]

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Every output in order, a list of arrays for a sequence. BackendError with ONNX Runtime's message."""
        if self._session is None:
            raise BackendError("the session is closed; open the model again")
        try:
            options = self._onnxruntime.RunOptions()
            options.log_severity_level = _FATAL
            wanted = {name: self._fed(name, feeds[name]) for name in self.input_names if name in feeds}
            found = self._session.run(None, wanted, options)
        except Exception as error:  # ONNX Runtime has a dozen exception types without a common root
            raise BackendError(f"ONNX Runtime fails on the model: {_message(error)}") from error
        return [
            value.astype(ml_dtypes.bfloat16) if low and isinstance(value, np.ndarray) else value
            for value, low in zip(found, self._bfloat16, strict=True)
        ]

    def close(self) -> None:
        """Frees the model and its memory."""
        self._session = None

    def _fed(self, name: str, value: Any) -> Any:
        dtype = _NUMPY_TYPES.get(self._types[name])
        if dtype is None or not isinstance(value, np.ndarray):
            return value
        if value.dtype != dtype:
            with np.errstate(over="ignore"):
                value = value.astype(dtype)
        if self._types[name] != _BFLOAT16:
            return value
        bits = np.ascontiguousarray(value).view(np.uint16)
        return self._onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, _BFLOAT16_NUMBER)


def _refusal(error: Exception) -> BackendError:
    """What ONNX Runtime's error on opening a model means."""
    later = _LATER_OPSET.search(str(error))
    if later is not None:
        return BackendError(
            f"ONNX Runtime supports {later['domain']} up to opset {later['latest']}, and the model has opset"
            f" {later['opset']}: export it with a lower opset, or install a later onnxruntime"
        )
    unknown = _UNKNOWN_OPERATOR.search(str(error))
    if unknown is None:
        return BackendError(f"ONNX Runtime refuses the model: {_message(error)}")
    return MissingOperatorError(
        f"ONNX Runtime does not know the custom operator {visible(unknown['domain'])}::{unknown['op_type']}, so the "
        "model cannot be run: give its library (--custom_op_libraries, in a spec custom_op_libraries)"
    )


def _message(error: Exception) -> str:
    """ONNX Runtime's message on one line, without its code prefix."""
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : ", "", one_line(error))[:_LONGEST_MESSAGE]


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
