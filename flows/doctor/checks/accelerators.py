"""The GPU and its driver, ONNX Runtime, TensorRT. None of them but ONNX Runtime is needed to convert."""

from __future__ import annotations

import ctypes
import importlib
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from autocast_core.backends.cuda_driver import CudaError, Device, has_driver
from autocast_core.backends.tensorrt.child import PACKAGES
from autocast_core.process.child import ending
from autocast_core.text import one_line
from flows.doctor.check_result import CheckResult, Results, Surroundings, problem, warning, well
from tasks.tracking.package_versions import RUNTIMES, installed

_GPU, _RUNTIME, _TENSORRT = "GPU", "ONNX Runtime", "TensorRT"
_CUDA = "CUDAExecutionProvider"
_IMPORT_SECONDS = 12.0
_PROBE = """
import importlib, sys
trt = importlib.import_module(sys.argv[1])
print(trt.__version__, hasattr(getattr(trt, "NetworkDefinitionCreationFlag", None), "STRONGLY_TYPED"))
"""
_PASSED_ON = ("PATH", "HOME", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "TMPDIR")


def gpu(_: Surroundings) -> Results:
    """Which GPU there is; a driver without one that answers is worth a warning."""
    if not has_driver():
        try:
            ctypes.CDLL("libcuda.so.1")
        except OSError:
            return (well(_GPU, "no NVIDIA driver: nothing is executed on a GPU here"),)
        remedy = "nvidia-smi says why; a container needs --gpus all"
        return (warning(_GPU, "the NVIDIA driver is installed, but no GPU answers", remedy),)
    try:
        device = Device()
        try:
            name, capability, driver = device.name, device.compute_capability, device.driver
        finally:
            device.close()
    except (CudaError, OSError) as error:
        return (warning(_GPU, one_line(error, 200), "nvidia-smi shows who uses the GPU, and what is wrong with it"),)
    return (well(_GPU, f"{name}, compute capability {capability}, driver for {driver}"),)


def onnx_runtime(_: Surroundings) -> Results:
    """Whether ONNX Runtime can be imported, and use the GPU where there is one."""
    found = installed(*RUNTIMES)
    name = next(reversed(found), RUNTIMES[0])
    try:
        runtime = importlib.import_module("onnxruntime")
        providers = list(runtime.get_available_providers())
    except Exception as error:  # whatever native code raises when it is loaded
        remedy = f"pip install --force-reinstall {name}"
        return (problem(_RUNTIME, f"cannot be imported ({type(error).__name__}: {one_line(error, 200)})", remedy),)
    if has_driver() and _CUDA not in providers:
        remedy = f"uninstall {name} and install onnxruntime-gpu, to use providers: [cuda]"
        return (warning(_RUNTIME, f"{runtime.__version__} cannot use this machine's GPU", remedy),)
    if RUNTIMES[1] in found and not has_driver():
        return (well(_RUNTIME, f"{runtime.__version__}, on the CPU for want of a GPU"),)
    return (
        well(
            _RUNTIME,
            f"{runtime.__version__}, {', '.join(each.removesuffix('ExecutionProvider') for each in providers)}",
        ),
    )


def tensorrt(_: Surroundings) -> Results:
    """Whether an installed TensorRT can be imported, which takes a process: it may end the one that imports it."""
    there = [name for name in PACKAGES if find_spec(name) is not None]
    if not there:
        return (well(_TENSORRT, "not installed: pip install 'autocast-flow[tensorrt-rtx]' parses without a GPU"),)
    return tuple(_imported(name) for name in there)


def _imported(name: str) -> CheckResult:
    package = name.replace("_", "-")
    path = os.pathsep.join(each for each in sys.path if each and Path(each).is_absolute())
    environment = {key: os.environ[key] for key in _PASSED_ON if key in os.environ} | {"PYTHONPATH": path}
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-c", _PROBE, name],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_IMPORT_SECONDS,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        what = f"{name} was not imported within {_IMPORT_SECONDS:.0f} s"
        return warning(_TENSORRT, what, "try it again on a machine that is not loaded")
    if child.returncode:
        last = one_line(child.stderr.strip().rpartition("\n")[2] or ending(child.returncode), 200)
        remedy = f"pip install --force-reinstall {package}; its libraries must fit driver and CUDA"
        return problem(_TENSORRT, f"{name} cannot be imported ({last})", remedy)
    version, _, strongly_typed = child.stdout.strip().rpartition("\n")[2].partition(" ")
    if strongly_typed != "True":
        what = f"{name} {version} is too old for strongly typed networks"
        return problem(_TENSORRT, what, f"pip install --upgrade {package}: 10.8 or newer")
    if name == "tensorrt" and not has_driver():
        remedy = "validate on a machine with a GPU; tensorrt-rtx parses without one"
        return warning(_TENSORRT, f"{name} {version} needs an NVIDIA driver even to parse", remedy)
    return well(_TENSORRT, f"{name} {version}")
