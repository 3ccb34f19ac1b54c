"""Executing an engine, on the parent's side: writes the data for the child, compares its outputs, sums up timings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from autocast_core.data import Batches
from autocast_core.engine.validation import FP32, MIXED, Execution, Spread
from autocast_core.errors import DataError
from autocast_core.evaluate import class_score_outputs, compare
from autocast_core.evaluate.metric_names import TENSORRT
from autocast_core.model import load_model
from autocast_core.progress import ProgressCallback, silent
from autocast_core.runtime import Session

ROUNDS = 50


@dataclass(frozen=True)
class EngineTrial:
    """How to run an engine: on `batches`, compared with the FP32 model at `reference`; `rounds` of both are timed."""

    reference: Path
    batches: Batches
    rounds: int = ROUNDS
    progress: ProgressCallback = silent


def write_feeds(trial: EngineTrial, folder: Path) -> dict[str, Any]:
    """Writes every batch below `folder`, one .npz each, and returns the child's part of the request.

    Arrays are named by their position in the .npz, since input names may be any text. DataError for an input that is
    not an array.
    """
    names: list[str] = []
    count = 0
    for feeds in trial.batches:
        names = names or list(feeds)
        if not all(isinstance(feeds[name], np.ndarray) for name in names):
            raise DataError("TensorRT takes tensors only, and an input of this model is a sequence; use simulation")
        np.savez(folder / f"feeds-{count}.npz", *(_plain(feeds[name]) for name in names))
        count += 1
    return {
        "folder": str(folder),
        "inputs": names,
        "batches": count,
        "rounds": trial.rounds,
    }


def _plain(array: np.ndarray) -> np.ndarray:
    """NumPy files hold NumPy's own types only: bfloat16 becomes FP32, without loss."""
    return array.astype(np.float32) if array.dtype.kind == "V" or array.dtype.name == "bfloat16" else array


class _Replay:
    """A Session that reads the outputs an engine computed, batch by batch, and removes their files."""

    def __init__(self, engine: str, names: Sequence[str], folder: Path, backend: str) -> None:
        self.input_names: Sequence[str] = ()
        self.output_names = names
        self.backend = backend
        self._files = (folder / f"{engine}-{number}.npz" for number in _count())

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        path = next(self._files)
        with np.load(path) as arrays:
            outputs = [arrays[f"arr_{index}"] for index in range(len(self.output_names))]
        path.unlink()
        return outputs

    def close(self) -> None: ...


def _count() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


def execution_of(
    trial: EngineTrial, events: Mapping[str, Any], model: ir.Model, folder: Path, package: str
) -> Execution:
    """The execution of `model`'s engine, from the child's events and the outputs below `folder`."""
    device, loaded, timed = events["device"], events[f"loaded {MIXED}"], events.get("timed", {}).get("milliseconds", {})
    beside = events.get(f"loaded {FP32}")
    with _reference(trial, beside, folder, package) as reference:
        candidate = _Replay(MIXED, loaded["outputs"], folder, package)
        fidelity = compare(reference, candidate, trial.batches, trial.progress, class_score_outputs(model))
    engines = {MIXED: loaded, **({FP32: beside} if beside else {})}
    return Execution(
        device=device["name"],
        compute_capability=device["capability"],
        driver=device["driver"],
        reference=reference.backend,
        batches=len(trial.batches),
        fidelity=fidelity.metrics(TENSORRT),
        latency_ms={name: Spread.of(values) for name, values in timed.items()},
        speedup=Spread.of([a / b for a, b in zip(timed[FP32], timed[MIXED], strict=True)]) if FP32 in timed else None,
        memory_bytes={name: each["memory_bytes"] for name, each in engines.items()},
        engine_bytes={name: each["engine_bytes"] for name, each in engines.items()},
    )


@contextmanager
def _reference(trial: EngineTrial, beside: Mapping[str, Any] | None, folder: Path, package: str) -> Iterator[Session]:
    """The FP32 engine's outputs; where TensorRT made none of the reference, ONNX Runtime on the CPU."""
    if beside is not None:
        yield _Replay(FP32, beside["outputs"], folder, f"{package} FP32, TF32 off")
        return
    from autocast_core.backends.onnxruntime.session import OnnxRuntime

    with closing(OnnxRuntime().open(load_model(trial.reference))) as session:
        yield session
