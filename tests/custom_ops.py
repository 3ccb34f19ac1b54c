"""A library with a custom operator of ONNX Runtime's, compiled where there is a C compiler."""

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("custom_ops.c")


def compiled_library(folder: Path) -> Path:
    """A library in `folder` with the operator my.ops::AddOne, which adds 1 to FP32; skips without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler is installed, which makes the library of custom operators")
    library = folder / "custom_ops.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-w", "-o", library, SOURCE], check=True)
    return library
