"""What is measured: models, what converts them, and how large they grow."""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from tests.benchmarks import synthetic
from tests.benchmarks.peers import Peers
from tests.models import BuiltModel, build

REAL = ("bert_base", "vit_base", "gpt2", "swin_tiny", "swin_tiny_traced", "resnet50")
MANY_NODES, LARGE_NODES = "deep_5000", "deep_20000"
LARGE = "wide_39"
"""2.6 GB of weights in an external file."""
NODES = (1250, 2500, 5000, 10000, 20000, 40000)
MATRICES = (2, 5, 11, 22, 45)
"""0.13 to 3.0 GB of weights."""
SAMPLES = (1, 2, 4, 8, 16, 32, 64)

OURS, WITHOUT_DATA, FLOOR = "autocast-flow", "autocast-flow without data", "floor"
AUTOCAST, SIMPLE = "nvidia-modelopt", "onnxconverter-common"

Command = list[str | Path]


@dataclass(frozen=True)
class Bench:
    """Where models, outputs and logs are kept, and the peers, if they take part."""

    folder: Path
    peers: Peers | None = None

    def model(self, name: str) -> BuiltModel:
        """The model NAME, built once: an architecture of tests.models, deep_NODES or wide_MATRICES."""
        folder = self.folder / "models" / name
        paths = [folder / file for file in ("model.onnx", "calibration.npz", "evaluation.npz")]
        if all(path.exists() for path in paths):
            return BuiltModel(name, *paths)
        # In a process of its own: what starts a process hands its own peak of memory on to it (getrusage(2)).
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            return process.submit(_built, name, folder).result()

    def output(self, name: str, subject: str) -> Path:
        """Where SUBJECT writes its conversion of model NAME."""
        folder = self.folder / "outputs" / f"{name} {subject}".replace(" ", ".")
        folder.mkdir(parents=True, exist_ok=True)
        return folder / "model.onnx"


def _built(name: str, folder: Path) -> BuiltModel:
    kind, _, size = name.partition("_")
    if kind == "deep":
        return synthetic.deep(int(size), folder)
    if kind == "wide":
        return synthetic.wide(int(size), folder)
    return build(name, folder)


def command(subject: str, built: BuiltModel, calibration: Path, output: Path, peers: Peers | None) -> Command | None:
    """How `subject` converts a model; None for a peer that does not take part."""
    ours: Command = [sys.executable, "-m", "autocast_core", "--log_level", "WARNING"]
    ours += ["--onnx_path", built.path, "--output_path", output]
    if subject == OURS:
        return [*ours, "--calibration_data", calibration]
    if subject == WITHOUT_DATA:
        return [*ours, "--data_max", "inf"]
    if subject == FLOOR:
        return [sys.executable, "-m", "tests.benchmarks.floor", built.path, calibration, output.with_suffix(".half")]
    if peers is None:
        return None
    return peers.autocast(built.path, calibration, output) if subject == AUTOCAST else peers.simple(built.path, output)
