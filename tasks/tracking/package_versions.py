"""Which packages a result was made with."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
"""Two distributions of one module: whichever was installed last has overwritten the other."""


def installed(*names: str) -> dict[str, str]:
    """The versions of those of `names` that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def versions() -> dict[str, str]:
    """The versions of this project and of what decides its results."""
    return installed("autocast-flow", "onnx", "onnx-ir", *RUNTIMES, "numpy")


def clash() -> str | None:
    """A warning where both distributions of ONNX Runtime are installed."""
    if len(installed(*RUNTIMES)) < len(RUNTIMES):
        return None
    return (
        "onnxruntime and onnxruntime-gpu are both installed and overwrite each other:"
        " uninstall both, then install the one you want"
    )
