"""One sample of the data as a model's input example, in the form in which MLflow keeps tensors: nested lists by name.

https://mlflow.org/docs/latest/ml/model/signatures/ (tensor-based input examples); the scoring server takes the second
file as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autocast_core.model.reference import ModelRef
from autocast_core.pipeline.cache import artifact_cache
from tasks.isolation import isolated

if TYPE_CHECKING:
    from autocast_core.config import ConversionConfig

FILE, SERVING_FILE = "input_example.json", "serving_input_example.json"
INFO: Mapping[str, str] = {
    "artifact_path": FILE,
    "type": "ndarray",
    "serving_input_path": SERVING_FILE,
}
"""What MLmodel says of the example."""
_MOST_ELEMENTS = 200_000

Example = dict[str, Any]
"""Nested lists of numbers by input name."""


def input_example(source: ModelRef, converted: ModelRef, data: Path | None, config: ConversionConfig) -> Example | None:
    """The first batch of `data` (seeded random without), rounded to the types that the converted model takes.

    None where it has more than 200,000 elements, or what that form cannot hold: NaN, infinity (which -3.4e38 in a mask
    becomes in FP16), texts, sequences, types that numpy has no name for.
    """
    from autocast_core.data import input_specs, open_batches, table_sizes

    cache = artifact_cache()
    model = cache.model(source)
    batches = open_batches(
        data,
        input_specs(model),
        batch_size=1,
        shapes=config.shapes,
        seed=config.seed,
        table_sizes=table_sizes(model),
    )
    wanted = {spec.name: spec.numpy for spec in input_specs(cache.model(converted)) if spec.kind == "tensor"}
    first = next(iter(batches))
    if wanted.keys() != first.keys() or any(type_.isbuiltin != 1 or type_.kind == "O" for type_ in wanted.values()):
        return None
    if sum(array.size for array in first.values()) > _MOST_ELEMENTS:
        return None
    with np.errstate(over="ignore"):
        rounded = {name: first[name].astype(type_) for name, type_ in wanted.items()}
    if not all(np.isfinite(array).all() for array in rounded.values() if array.dtype.kind in "fc"):
        return None
    return {name: array.tolist() for name, array in rounded.items()}


sample_of = isolated(input_example, Example | None)


def write_example(folder: Path, example: Example) -> dict[str, Any]:
    """Writes the example's files into `folder` and returns what MLmodel says of them."""
    for name, content in ((FILE, example), (SERVING_FILE, {"inputs": example})):
        (folder / name).write_text(json.dumps(content, allow_nan=False), encoding="utf-8")
    return dict(INFO)
