"""The test models themselves: sound, finite, of realistic size, and the same bytes every time."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.models import ARCHITECTURES, DETECTORS, BuiltModel, build

EVERY_NAME = (*ARCHITECTURES, *DETECTORS)


def _digests(built: BuiltModel) -> list[str]:
    files = sorted(path for path in built.path.parent.iterdir())
    return [f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files]


def _outputs(built: BuiltModel, data: Path) -> list[np.ndarray]:
    """Every output for every sample of `data`, one sample at a time."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(built.path, options, providers=["CPUExecutionProvider"])
    arrays = dict(np.load(data))
    count = max(array.shape[0] for array in arrays.values() if array.ndim)
    found = []
    for index in range(count):
        sample = {name: array[index : index + 1] if array.ndim else array for name, array in arrays.items()}
        found += session.run(None, sample)
    return found


def _check(built: BuiltModel) -> None:
    onnx.checker.check_model(built.path, full_check=True)
    for data in (built.calibration, built.evaluation):
        for output in _outputs(built, data):
            assert np.isfinite(output).all()
            assert 0.1 < np.abs(output).max() < 100


@pytest.mark.parametrize("name", EVERY_NAME)
def test_two_layers_of_it_are_valid_and_give_finite_outputs_of_realistic_size(name: str, tmp_path: Path) -> None:
    _check(build(name, tmp_path, layers=2))


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY_NAME)
def test_the_whole_model_is_valid_and_gives_finite_outputs_of_realistic_size(name: str, tmp_path: Path) -> None:
    _check(build(name, tmp_path))


@pytest.mark.parametrize("name", EVERY_NAME)
def test_building_it_twice_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    assert _digests(build(name, tmp_path / "first", layers=2)) == _digests(build(name, tmp_path / "second", layers=2))


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY_NAME)
def test_building_the_whole_model_twice_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    assert _digests(build(name, tmp_path / "first")) == _digests(build(name, tmp_path / "second"))


def test_the_bytes_do_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    script = "import sys, pathlib, tests.models as m; m.build('if_loop', pathlib.Path(sys.argv[1]), layers=2)"
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        root = Path(__file__).parents[1]
        subprocess.run([sys.executable, "-c", script, tmp_path / seed], env=environment, cwd=root, check=True)
    first, second = ((tmp_path / seed / "model.onnx").read_bytes() for seed in ("1", "2"))
    assert first == second


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    first = build("if_loop", tmp_path / "first", layers=2, seed=0).path.read_bytes()
    second = build("if_loop", tmp_path / "second", layers=2, seed=1).path.read_bytes()
    assert len(first) == len(second)
    assert first != second


def test_external_data_holds_the_same_weights(tmp_path: Path) -> None:
    inline = build("t5_small", tmp_path / "inline", layers=2)
    external = build("t5_small", tmp_path / "external", layers=2, external_data=True)
    assert external.path.stat().st_size < 300_000
    onnx.checker.check_model(external.path, full_check=True)
    for ours, theirs in zip(_outputs(inline, inline.evaluation), _outputs(external, inline.evaluation), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_tied_weights_stay_equal(tmp_path: Path) -> None:
    graph = onnx.load(build("t5_small", tmp_path, layers=2).path).graph
    tables = [onnx.numpy_helper.to_array(t) for t in graph.initializer if sorted(t.dims) == [512, 4096]]
    assert [table.shape for table in tables] == [(4096, 512), (512, 4096)]
    np.testing.assert_array_equal(tables[0], tables[1].T)


def test_an_unknown_architecture_or_depth_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no graph of 'alexnet' with layers=2"):
        build("alexnet", tmp_path, layers=2)
    with pytest.raises(ValueError, match="no graph of 'gpt2' with layers=5"):
        build("gpt2", tmp_path, layers=5)


def test_the_graphs_hold_no_weights() -> None:
    graphs = {path: onnx.load(path).graph for path in (Path(__file__).parent / "models/graphs").glob("*.onnx")}
    assert len(graphs) == 2 * len(EVERY_NAME)
    assert max(tensor.ByteSize() for graph in graphs.values() for tensor in held(graph)) < 2_000
    assert sum(path.stat().st_size for path in graphs) < 4_000_000


def held(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        yield from [attribute.t] if attribute.HasField("t") else ()
        yield from held(attribute.g) if attribute.HasField("g") else ()
