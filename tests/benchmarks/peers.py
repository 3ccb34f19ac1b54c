"""The other converters, in a virtual environment of their own."""

from __future__ import annotations

import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("nvidia-modelopt[onnx]", "torch==2.13.0", "onnxconverter-common")

_SIMPLE = """
import sys, onnx
from onnxconverter_common import float16
model = float16.convert_float_to_float16(onnx.load(sys.argv[1]), keep_io_types=False)
onnx.save(model, sys.argv[2])
"""


@dataclass(frozen=True)
class Peers:
    """Commands of the peers, which the Python at `python` runs."""

    python: Path

    def autocast(self, model: Path, calibration: Path | None, output: Path) -> list[str | Path]:
        """nvidia-modelopt's AutoCast, with its defaults."""
        data: list[str | Path] = [] if calibration is None else ["--calibration_data", calibration]
        flags: list[str | Path] = ["--onnx_path", model, "--output_path", output, "--log_level", "WARNING"]
        return [self.python, "-m", "modelopt.onnx.autocast", *flags, *data]

    def simple(self, model: Path, output: Path) -> list[str | Path]:
        """onnxconverter-common's float16, which only casts."""
        return [self.python, "-c", _SIMPLE, model, output]


def install(folder: Path) -> Peers:
    """The peers, installed by name from the package index that pip is set up for unless they are there."""
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"installing {', '.join(PACKAGES)} in {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True, stdout=sys.stderr)
    subprocess.run([python, "-c", "import modelopt.onnx.autocast, onnxconverter_common"], check=True)
    return Peers(python)
