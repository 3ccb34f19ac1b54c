"""The converted model as a logged model of MLflow's onnx flavour, made by hand.

`mlflow.onnx.log_model` loads the model, changes the object it is given and renames the external data; here the files go
up as they are, whatever their size, and MLflow's own loaders read them back (mlflow.onnx, mlflow.pyfunc).
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autocast_core.model.reference import ModelRef
from tasks.isolation import isolated
from tasks.tracking.example import Example, write_example
from tasks.tracking.package_versions import RUNTIMES, installed
from tasks.tracking.runs import RunRef
from tasks.tracking.store import tracking_errors

if TYPE_CHECKING:
    import onnx_ir as ir
    from mlflow.models import Model, ModelSignature


CARD = "README.md"
_Tensor = tuple[str, str, tuple[int, ...]]


@dataclass(frozen=True)
class LoggedModel:
    """A logged model, usable as ``models:/MODEL_ID``."""

    model_id: str
    name: str

    @property
    def uri(self) -> str:
        return f"models:/{self.model_id}"


def log_model(
    run: RunRef,
    model: ModelRef,
    files: Sequence[Path],
    *,
    name: str,
    params: Mapping[str, str],
    metadata: Mapping[str, Any],
    example: Example | None = None,
    card: str = "",
) -> LoggedModel:
    """Uploads `files` (of which `model` is the model) as a logged model of `run`, with a sample of its inputs and its
    model card as README.md. Weights are never loaded.

    On failure the logged model ends as FAILED.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    with tracking_errors(run.tracking_uri):
        client = run.client()
        logged = client.create_logged_model(
            run.experiment_id, name=name, source_run_id=run.run_id, params=dict(params), model_type="onnx"
        )
        try:
            with tempfile.TemporaryDirectory(prefix="autocast-mlmodel-") as folder:
                size = sum(file.stat().st_size for file in files)
                _describe(Path(folder), model, size, run, logged, metadata, example)
                if card:
                    (Path(folder) / CARD).write_text(card, encoding="utf-8")
                client.log_model_artifacts(logged.model_id, folder)
            for file in files:
                client.log_model_artifact(logged.model_id, str(file))
            client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
            client.log_outputs(run.run_id, [LoggedModelOutput(logged.model_id, step=0)])
        except BaseException:
            client.finalize_logged_model(logged.model_id, LoggedModelStatus.FAILED)
            raise
    return LoggedModel(logged.model_id, name)


def _describe(
    folder: Path,
    model: ModelRef,
    size: int,
    run: RunRef,
    logged: Any,
    metadata: Mapping[str, Any],
    example: Example | None,
) -> None:
    """Writes MLmodel, requirements.txt, python_env.yaml and the input example into `folder`."""
    from mlflow.models import Model

    described = Model(
        artifact_path=logged.artifact_location,
        run_id=run.run_id,
        signature=signature(model),
        metadata=dict(metadata),
        model_size_bytes=size,
        model_id=logged.model_id,
    )
    if example is not None and described.signature is not None:
        described.saved_input_example_info = write_example(folder, example)
    _add_flavors(described, model.path.name)
    described.save(str(folder / "MLmodel"))
    lines = [f"{name}=={found}\n" for name, found in installed("mlflow", "onnx", *RUNTIMES).items()]
    (folder / "requirements.txt").write_text("".join(lines), encoding="utf-8")
    (folder / "python_env.yaml").write_text(
        f"python: '{platform.python_version()}'\nbuild_dependencies: []\ndependencies:\n- -r requirements.txt\n",
        encoding="utf-8",
    )


def _add_flavors(described: Model, data: str) -> None:
    described.add_flavor(
        "onnx",
        onnx_version=version("onnx"),
        data=data,
        providers=["CUDAExecutionProvider", "CPUExecutionProvider"],
        onnx_session_options=None,
        code=None,
    )
    described.add_flavor(
        "python_function",
        loader_module="mlflow.onnx",
        python_version=platform.python_version(),
        data=data,
        env={"virtualenv": "python_env.yaml"},
    )


def signature(model: ModelRef) -> ModelSignature | None:
    """The model's inputs and outputs; None where one has a type that numpy (so MLflow) has no name for, as bfloat16."""
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Schema, TensorSpec

    found = _tensors(model)
    if found is None:
        return None
    inputs, outputs = (Schema([TensorSpec(np.dtype(type_), shape, name) for name, type_, shape in ts]) for ts in found)
    return ModelSignature(inputs=inputs, outputs=outputs)


def read_tensors(model: ModelRef) -> tuple[tuple[_Tensor, ...], tuple[_Tensor, ...]] | None:
    """Of each input and output its name, numpy's name of its type, and its shape, -1 where that varies; None where
    numpy has no name."""
    from autocast_core.pipeline.cache import artifact_cache

    graph = artifact_cache().model(model).graph
    inputs, outputs = ([_tensor(value) for value in values] for values in (graph.inputs, graph.outputs))
    if not inputs or None in (*inputs, *outputs):
        return None
    return tuple(each for each in inputs if each), tuple(each for each in outputs if each)


_tensors = isolated(read_tensors, tuple[tuple[_Tensor, ...], tuple[_Tensor, ...]] | None)


def _tensor(value: ir.Value) -> _Tensor | None:
    if value.dtype is None or value.shape is None:
        return None
    dtype = value.dtype.numpy()
    if dtype.kind not in "biufc" or dtype.isbuiltin != 1:
        return None
    return value.name or "", dtype.name, tuple(dim if isinstance(dim, int) else -1 for dim in value.shape)
