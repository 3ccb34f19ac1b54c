"""Checks that need an NVIDIA GPU: plain functions that return what they measured, so that they run without pytest too.

Each takes a folder to write to, raises AssertionError where something is wrong and Skipped where this machine cannot.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser

from autocast_core.backends.cuda_driver import CudaError, Device, has_driver
from autocast_core.backends.tensorrt.execution import EngineTrial
from autocast_core.backends.tensorrt.validate import validate_model
from autocast_core.config import ConversionConfig, Precision
from autocast_core.data import input_specs, open_batches
from autocast_core.engine.options import EngineOptions, Profile
from autocast_core.engine.validation import Validation
from autocast_core.evaluate.metric_names import TENSORRT, of_worst_outputs
from autocast_core.model import load_model
from autocast_core.pipeline.convert import convert_file
from tests.models import BuiltModel, build

BENCHMARKED = ("resnet50", "bert_base", "vit_base")
_PACKAGES = ("tensorrt", "tensorrt-rtx", "onnxruntime-gpu", "onnxruntime", "torch", "onnx", "onnx-ir", "numpy")
Facts = Mapping[str, Any]


class Skipped(Exception):  # noqa: N818
    """This machine cannot do the check; the reason."""


def require_gpu() -> None:
    """Skipped where no NVIDIA GPU answers."""
    if not has_driver():
        raise Skipped("no NVIDIA driver with a device answers on this machine")


def device(_: Path) -> Facts:
    """What this machine is, and memory that can be written, read, measured and exhausted."""
    with closing(Device()) as gpu:
        sent, received = np.arange(1 << 20, dtype=np.float32), np.zeros(1 << 20, dtype=np.float32)
        before = gpu.free_bytes()
        pointer = gpu.allocate(256 << 20)
        assert before - gpu.free_bytes() >= 200 << 20
        gpu.write(pointer, sent)
        gpu.read(received, pointer)
        np.testing.assert_array_equal(received, sent)
        gpu.free(pointer)
        assert gpu.milliseconds(lambda: None) < 1000
        try:
            gpu.allocate(1 << 50)
        except CudaError as error:
            assert "out of memory" in str(error)
        else:
            raise AssertionError("a petabyte was allocated")
        facts = {"device": gpu.name, "compute_capability": gpu.compute_capability, "driver": gpu.driver}
    return {**facts, "versions": {name: found for name in _PACKAGES if (found := _version(name))}}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


MIXED = """
<ir_version: 10, opset_import: ["" : 22]>
main (float16[n, 4] x) => (float[n, 4] y)
<float16[4, 4] w = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1}> {
    [multiply] m = MatMul (x, w)
    [widen] f = Cast <to = 1> (m)
    [soften] y = Softmax (f)
}
"""
FP32 = """
<ir_version: 10, opset_import: ["" : 22]>
main (float[n, 4] x) => (float[n, 4] y)
<float[4, 4] w = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1}> {
    [multiply] m = MatMul (x, w)
    [soften] y = Softmax (m)
}
"""
COUNTED = """
<ir_version: 10, opset_import: ["" : 22]>
main (float[n, 4] x) => (int64[2, m] y) { [positive] p = Relu (x) [find] y = NonZero (p) }
"""


def tensorrt_accepts_the_device(folder: Path) -> Facts:
    """A small mixed model with a dynamic batch, executed: whether this TensorRT takes this device at all."""
    found = _tried(folder, MIXED, FP32, np.random.default_rng(0).normal(size=(6, 4)).astype("f4"))
    if found.execution is None:
        raise Skipped("; ".join((*found.skipped, *(each.words for each in found.findings))))
    assert found.accepted, found.findings
    assert found.execution.fidelity["tensorrt/fidelity/outputs/y/max_abs"] < 1e-2
    assert found.engine_view is not None and found.engine_view.described_by == "inspector", found.skipped
    return _facts(found)


def outputs_of_unknown_size_are_fetched(folder: Path) -> Facts:
    """NonZero: only the values decide how large the output is."""
    data = np.array([[1, -1, 2, 0], [0, 0, 3, -4]], dtype="f4")
    found = _tried(folder, COUNTED, COUNTED, data)
    if found.execution is None:
        raise Skipped("; ".join((*found.skipped, *(each.words for each in found.findings))))
    assert found.execution.fidelity["tensorrt/fidelity/outputs/y/max_abs"] == 0
    return _facts(found)


def shapes_outside_the_profile_are_named(folder: Path) -> Facts:
    """A batch of six where the engine was built for two."""
    options = EngineOptions({"x": Profile((1, 4), (1, 4), (2, 4))})
    found = _tried(folder, MIXED, FP32, np.zeros((6, 4), dtype="f4"), options)
    words = " ".join((*found.skipped, *(each.words for each in found.findings)))
    if "outside the optimisation profile" not in words and found.execution is None:
        raise Skipped(words)
    assert found.execution is None
    return {"words": words}


def the_timing_cache_is_written_and_read(folder: Path) -> Facts:
    """Classic TensorRT only."""
    cache = folder / "timing.cache"
    options = EngineOptions({"x": Profile((1, 4), (1, 4), (8, 4))}, timing_cache=cache)
    path = _saved(folder / "mixed.onnx", MIXED)
    seconds = []
    for _ in range(2):
        found = validate_model(path, options=options)
        if found.package is None or not found.package.startswith("tensorrt "):
            raise Skipped(f"classic TensorRT only, this is {found.package}")
        assert found.depth == "built", found.findings
        seconds.append(found.seconds["build"])
    assert cache.stat().st_size > 0
    return {"build_seconds": seconds, "bytes": cache.stat().st_size}


def _tried(folder: Path, mixed: str, fp32: str, data: np.ndarray, options: EngineOptions | None = None) -> Validation:
    path, reference = _saved(folder / "mixed.onnx", mixed), _saved(folder / "fp32.onnx", fp32)
    batches = open_batches({"x": data}, input_specs(load_model(reference)), batch_size=len(data))
    shape = data.shape
    options = options or EngineOptions({"x": Profile(shape, shape, shape)})
    return validate_model(path, options=options, trial=EngineTrial(reference, batches))


def _saved(path: Path, text: str) -> Path:
    onnx.save(onnx.parser.parse_model(text), str(path))
    return path


def benchmark(folder: Path, name: str, precision: str, layers: int | None = None) -> Facts:
    """A model converted, executed by TensorRT beside its FP32 form: fidelity, paired latency, memory, layers."""
    built = build(name, folder, layers=layers)
    low = folder / "low.onnx"
    plan = convert_file(
        built.path, low, ConversionConfig(precision=Precision(precision)), calibration=built.calibration
    ).plan
    found = validate_model(low, plan, _fixed_shapes(built), trial=EngineTrial(built.path, _batches(built)))
    if found.execution is None:
        raise Skipped("; ".join((*found.skipped, *(each.words for each in found.findings))))
    assert found.accepted, found.findings
    assert found.execution.fidelity["tensorrt/fidelity/new_nonfinite"] == 0
    return {**_facts(found), "model": name, "precision": precision, "nodes": plan.summary()}


def benchmark_onnxruntime(folder: Path, name: str, precision: str, layers: int | None = None) -> Facts:
    """The same with ONNX Runtime's CUDA provider: GPU numbers where TensorRT refuses the device, labelled so."""
    import onnxruntime

    from autocast_core.backends.onnxruntime.session import OnnxRuntime
    from autocast_core.evaluate import compare

    try:
        import torch  # noqa: F401  # brings CUDA's and cuDNN's libraries into the process
    except ImportError:
        getattr(onnxruntime, "preload_dlls", lambda: None)()
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise Skipped(f"onnxruntime {onnxruntime.__version__} has no CUDA provider: install onnxruntime-gpu")
    built = build(name, folder, layers=layers)
    low = folder / "low.onnx"
    convert_file(built.path, low, ConversionConfig(precision=Precision(precision)), calibration=built.calibration)
    runtime, batches = OnnxRuntime(("cuda:0", "cpu")), _batches(built)
    with (
        closing(runtime.open(load_model(built.path))) as reference,
        closing(runtime.open(load_model(low))) as candidate,
    ):
        assert candidate.backend == "onnxruntime-cuda"
        fidelity = compare(reference, candidate, batches)
        feeds = next(iter(batches))
        times = _paired(lambda: reference.run(feeds), lambda: candidate.run(feeds))
    assert fidelity.worst.new_nonfinite == 0
    return {
        "backend": f"onnxruntime-cuda {onnxruntime.__version__}",
        "model": name,
        "precision": precision,
        "fidelity": {"rel_l2": fidelity.worst.rel_l2, "sqnr_db": fidelity.worst.sqnr_db},
        **times,
        "includes": "copies of inputs and outputs; TF32 as ONNX Runtime has it by default",
    }


def _paired(first: Callable[[], Any], second: Callable[[], Any], rounds: int = 30) -> dict[str, Any]:
    """Wall milliseconds of both in turns: medians and the quartiles of the ratio."""
    from time import perf_counter

    def taken(work: Callable[[], Any]) -> float:
        start = perf_counter()
        work()
        return (perf_counter() - start) * 1e3

    for work in (first, second) * 5:
        work()
    pairs = [(taken(first), taken(second)) for _ in range(rounds)]
    ratios = [a / b for a, b in pairs]
    return {
        "latency_ms": {"fp32": statistics.median(a for a, _ in pairs), "mixed": statistics.median(b for _, b in pairs)},
        "speedup": dict(zip(("lower", "median", "upper"), statistics.quantiles(ratios, n=4), strict=True)),
    }


def _batches(built: BuiltModel) -> Any:
    return open_batches(built.evaluation, input_specs(load_model(built.path)))


def _fixed_shapes(built: BuiltModel) -> EngineOptions:
    from autocast_core.targets.fitting import engine_options

    return engine_options(load_model(built.path), ConversionConfig(), _batches(built))


def _facts(found: Validation) -> dict[str, Any]:
    execution = found.execution
    assert execution is not None
    worst = of_worst_outputs(execution.fidelity, TENSORRT)
    view = found.engine_view
    kinds: dict[str, int] = {}
    for kernel in view.kernels if view is not None else ():
        for each in set(kernel.writes):
            kinds[each] = kinds.get(each, 0) + 1
    return {
        "backend": found.package,
        "device": execution.device,
        "compute_capability": execution.compute_capability,
        "driver": execution.driver,
        "reference": execution.reference,
        "batches": execution.batches,
        "fidelity": worst,
        "latency_ms": {name: asdict(each) for name, each in execution.latency_ms.items()},
        "speedup": asdict(execution.speedup) if execution.speedup else None,
        "memory_bytes": dict(execution.memory_bytes),
        "engine_bytes": dict(execution.engine_bytes),
        "engine": view.metrics() if view is not None else {},
        "described_by": view.described_by if view is not None else None,
        "kernels_by_written_type": kinds,
    }


CHECKS: dict[str, Callable[[Path], Facts]] = {
    "device": device,
    "tensorrt_accepts_the_device": tensorrt_accepts_the_device,
    "outputs_of_unknown_size_are_fetched": outputs_of_unknown_size_are_fetched,
    "shapes_outside_the_profile_are_named": shapes_outside_the_profile_are_named,
    "the_timing_cache_is_written_and_read": the_timing_cache_is_written_and_read,
}
"""By name; `benchmark` and `benchmark_onnxruntime` come on top, for each model and precision."""
