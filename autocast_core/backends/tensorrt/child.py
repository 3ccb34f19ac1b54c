"""Parses and builds one model with TensorRT or TensorRT for RTX, in a process of its own.

``python -m autocast_core.backends.tensorrt.child REQUEST.json EVENTS.jsonl``: TensorRT can end the process that uses
it, so this module only reads a request and appends what it found, stage by stage, one JSON object a line:

- package: ``name``, ``version``; or skipped: ``stage``, ``reason``
- parsed: ``ok``, ``errors``, ``seconds``, ``tensors`` (name to [element type, layer, layer type]), ``outputs``
- built: ``ok``, ``errors``, ``seconds``, ``bytes``
- engine: ``messages`` that describe the engine (see `autocast_core.engine.build_log`), ``left_out`` where too long
- with a reference, the same of it: ``reference parsed``, ``reference built``, ``reference engine``
- with a trial, what `autocast_core.backends.tensorrt.gpu.execute` emits
- log: ``lines``
"""

from __future__ import annotations

import ctypes
import importlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from autocast_core.backends.cuda_driver import has_driver
from autocast_core.engine.build_log import is_needed
from autocast_core.text import one_line

PACKAGES = ("tensorrt", "tensorrt_rtx")
"""In order of preference."""
_LONGEST_LOG = 5000
_LONGEST_ENGINE = 2**26
"""Characters of the messages that describe an engine; some 1,200 for each kernel."""
_ONNX_TYPES = {
    "FLOAT": "float",
    "HALF": "float16",
    "BF16": "bfloat16",
    "FP8": "float8e4m3fn",
    "FP4": "float4e2m1",
}
"""TensorRT's names of element types where ONNX's are not the same in lower case."""

Emit = Callable[..., None]


def main() -> None:
    """Reads the request, writes the events."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    with open(sys.argv[2], "a", encoding="utf-8") as stream:

        def emit(event: str, **facts: Any) -> None:
            stream.write(json.dumps({"event": event, **facts}) + "\n")
            stream.flush()

        trt = _load(emit)
        if trt is not None:
            _examine(trt, request, emit)


def _load(emit: Emit) -> Any:
    """The first package that can be imported and is new enough, and whose Builder would not crash here."""
    reasons = []
    for name in PACKAGES:
        try:
            trt = importlib.import_module(name)
        except ImportError as error:
            reasons.append(f"{name} cannot be imported ({one_line(error)})")
            continue
        flags = getattr(trt, "NetworkDefinitionCreationFlag", None)
        if not hasattr(flags, "STRONGLY_TYPED") or not hasattr(trt, "OnnxParser"):
            reasons.append(f"{name} {trt.__version__} is too old for strongly typed networks: install 10.8 or newer")
        elif name == "tensorrt" and not has_driver():
            reasons.append("tensorrt needs an NVIDIA driver even to parse; tensorrt-rtx does not")
        else:
            emit("package", name=name, version=trt.__version__)
            return trt
    emit("skipped", stage="parse", reason="; ".join(reasons))
    return None


def _examine(trt: Any, request: Mapping[str, Any], emit: Emit) -> None:
    logger = _logger(trt)
    try:
        if not _load_plugins(trt, request["plugins"], emit):
            return
        engine = _engine(trt, request["model"], request, logger, emit)
        if engine is None:
            return
        if request["engine"]:
            Path(request["engine"]).write_bytes(engine)
        engines = {"mixed": engine}
        if request["reference"]:
            reference = _reference_engine(trt, request, logger, emit)
            engines |= {} if reference is None else {"fp32": reference}
        if request["trial"]:
            from autocast_core.backends.tensorrt.gpu import execute

            execute(trt, logger, engines, request["trial"], emit)
    finally:
        emit("log", lines=logger.lines)


def _engine(trt: Any, model: str, request: Mapping[str, Any], logger: Any, emit: Emit) -> Any:
    """The serialized engine of `model`, or None where it was not to be built or is refused."""
    builder = trt.Builder(logger)
    # The parser does not keep the network alive.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not _parse(parser, network, model, logger, emit) or not request["build"]:
        return None
    engine = _build(trt, builder, network, request, logger, emit)
    if engine is not None:
        left_out = sum(map(len, logger.engine)) > _LONGEST_ENGINE
        emit("engine", messages=[] if left_out else logger.engine, left_out=left_out)
    return engine


def _reference_engine(trt: Any, request: Mapping[str, Any], logger: Any, emit: Emit) -> Any:
    def emit_of_reference(event: str, **facts: Any) -> None:
        emit(f"reference {event}", **facts)

    return _engine(trt, request["reference"], request, logger, emit_of_reference)


def _load_plugins(trt: Any, libraries: Sequence[str], emit: Emit) -> bool:
    for library in libraries:
        try:
            ctypes.CDLL(library)
            loaded = trt.get_plugin_registry().load_library(library) is not None
            reason = "TensorRT's plugin registry refuses it"
        except (OSError, RuntimeError) as error:
            loaded, reason = False, str(error)
        if not loaded:
            message = f"plugin {library} does not load: {one_line(reason)}"
            refusal = {"node": "", "index": -1, "op": "", "code": "PLUGIN", "words": message}
            emit("parsed", ok=False, errors=[refusal], seconds=0.0)
            return False
    return True


def _logger(trt: Any) -> Any:
    class Log(trt.ILogger):  # type: ignore[misc]
        """Keeps what TensorRT says; TensorRT takes one logger a process."""

        def __init__(self) -> None:
            super().__init__()
            self.lines: list[str] = []
            self.errors: list[str] = []
            self.engine: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity == trt.ILogger.VERBOSE:
                if is_needed(msg):
                    self.engine.append(msg)
                return
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(msg)
            if len(self.lines) < _LONGEST_LOG:
                self.lines.append(f"{severity.name}: {msg}")

    return Log()


def _parse(parser: Any, network: Any, model: str, logger: Any, emit: Emit) -> bool:
    start = time.perf_counter()
    parsed = parser.parse_from_file(model)
    seconds = time.perf_counter() - start
    if not parsed:
        found = [parser.get_error(index) for index in range(parser.num_errors)]
        errors = [
            {
                "node": e.node_name(),
                "index": e.node(),
                "op": e.node_operator(),
                "code": e.code().name,
                "words": e.desc(),
            }
            for e in found
        ]
        if not errors:
            errors = [
                {"node": "", "index": -1, "op": "", "code": "PARSE", "words": text} for text in logger.errors or [""]
            ]
        emit("parsed", ok=False, errors=errors, seconds=seconds)
        return False
    outputs = {tensor.name: _type(tensor) for tensor in map(network.get_output, range(network.num_outputs))}
    emit("parsed", ok=True, errors=[], seconds=seconds, tensors=_tensors(network), outputs=outputs)
    return True


def _tensors(network: Any) -> dict[str, tuple[str, str, str]]:
    """Every tensor that a layer writes: its element type, the layer, the layer's type."""
    found = {}
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        for tensor in map(layer.get_output, range(layer.num_outputs)):
            found[tensor.name] = (_type(tensor), layer.name, layer.type.name)
    return found


def _type(tensor: Any) -> str:
    name: str = tensor.dtype.name
    return _ONNX_TYPES.get(name, name.lower())


def _build(trt: Any, builder: Any, network: Any, request: Mapping[str, Any], logger: Any, emit: Emit) -> Any:
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    # FP32 is to be FP32, in the reference and in what a plan keeps.
    config.clear_flag(trt.BuilderFlag.TF32)
    if request["workspace_bytes"] is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request["workspace_bytes"])
    reason = _add_profile(builder, network, config, request["profiles"])
    if reason is not None:
        emit("skipped", stage="build", reason=reason)
        return None
    cache = _timing_cache(trt, config, request["timing_cache"], logger)
    logger.errors.clear()
    logger.engine.clear()
    start = time.perf_counter()
    engine = builder.build_serialized_network(network, config)
    seconds = time.perf_counter() - start
    if engine is None:
        emit("built", ok=False, errors=logger.errors or ["TensorRT gave no reason"], seconds=seconds)
        return None
    if cache is not None:
        Path(request["timing_cache"]).write_bytes(config.get_timing_cache().serialize())
    emit("built", ok=True, errors=[], seconds=seconds, bytes=engine.nbytes)
    return engine


def _timing_cache(trt: Any, config: Any, path: str | None, logger: Any) -> Any:
    """The timing cache that the build uses. TensorRT for RTX has none: to set one would make it look for a GPU."""
    if path is None:
        return None
    if trt.__name__ != "tensorrt":
        logger.lines.append("INFO: the timing cache is not used: TensorRT for RTX times nothing while building")
        return None
    known = Path(path).read_bytes() if Path(path).exists() else b""
    cache = config.create_timing_cache(known)
    if not config.set_timing_cache(cache, False):
        logger.lines.append(f"WARNING: timing cache {path} is of another device or version: starting an empty one")
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache


def _add_profile(builder: Any, network: Any, config: Any, profiles: Mapping[str, Any]) -> str | None:
    """Give dynamic inputs their shapes; why that cannot be, where it cannot."""
    profile, dynamic = builder.create_optimization_profile(), False
    for tensor in map(network.get_input, range(network.num_inputs)):
        if tensor.is_shape_tensor:
            return f"input {tensor.name!r} is a shape tensor: its values decide shapes and no profile holds them"
        shape = tuple(tensor.shape)
        if all(size >= 0 for size in shape):
            continue
        dynamic = True
        shapes = profiles.get(tensor.name) or [[1 if size < 0 else size for size in shape]] * 3
        if any(len(each) != len(shape) for each in shapes):
            return f"the profile of input {tensor.name!r} has another rank than the model's {len(shape)}"
        profile.set_shape(tensor.name, *map(tuple, shapes))
    if dynamic and config.add_optimization_profile(profile) < 0:
        return "the shapes of the dynamic inputs make no valid optimisation profile"
    return None


if __name__ == "__main__":
    main()
