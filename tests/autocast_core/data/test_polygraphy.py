"""Reading the JSON files that Polygraphy writes."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from autocast_core.data import InputSpec, open_batches
from autocast_core.errors import DataError

X = [InputSpec("x", ir.DataType.FLOAT, (1, 2))]


def encoded(array: np.ndarray) -> dict[str, str]:
    """As polygraphy/json/serde.py 0.53 encodes numpy arrays."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return {"array": base64.b64encode(buffer.getvalue()).decode(), "polygraphy_class": "ndarray"}


def written(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_each_feed_is_a_batch(tmp_path: Path) -> None:
    feeds = [{"x": encoded(np.array([[i, 0.5]], np.float32))} for i in range(3)]
    batches = list(open_batches(written(tmp_path / "inputs.json", feeds), X))
    assert [batch["x"].tolist() for batch in batches] == [[[0.0, 0.5]], [[1.0, 0.5]], [[2.0, 0.5]]]


def test_a_single_feed_and_a_folder_of_feeds(tmp_path: Path) -> None:
    for index in (1, 0):
        feed = {"x": encoded(np.full((1, 2), index, np.float32))}
        written(tmp_path / f"{index:010d}.json", feed)
    assert [batch["x"][0, 0] for batch in open_batches(tmp_path, X)] == [0.0, 1.0]


def test_archives_of_older_versions_are_read(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, np.ones((1, 2), np.float32))
    feed = {"x": {"array": base64.b64encode(buffer.getvalue()).decode()}}
    assert next(iter(open_batches(written(tmp_path / "i.json", [feed]), X)))["x"].tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("<html>", "not valid JSON"),
        ("[]", "holds no feeds"),
        ("[3]", "a int, not a mapping"),
        ('[{"x": [1, 2]}]', "not an array as Polygraphy writes it"),
        ('[{"x": {"tensor": "AA==", "polygraphy_class": "Tensor"}}]', "a pickled torch tensor, which is never loaded"),
        ('[{"x": {"array": "AAAA"}}]', "not .npy data"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "i.json").write_text(content)
    with pytest.raises(DataError) as caught:
        open_batches(tmp_path / "i.json", X)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([print], dtype=object), allow_pickle=True)
    feed = {"x": {"array": base64.b64encode(buffer.getvalue()).decode()}}
    with pytest.raises(DataError, match="never loaded"):
        open_batches(written(tmp_path / "i.json", [feed]), X)
