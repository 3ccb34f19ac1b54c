"""Models of any size, to see how costs grow: with the number of nodes, with the bytes of weights, with the data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from tests.models import BuiltModel, writer
from tests.models.recipe import generator

WIDTH = 16
"""Of the tensors of a deep model."""
FEATURES = 4096
"""Of the square matrices of a wide model."""
_OPSET, _IR_VERSION = 17, 8


def deep(nodes: int, folder: Path) -> BuiltModel:
    """A residual network of about `nodes` small nodes: eight a block, a gate beside the main path in each.

    The branch is scaled so that the residual stream grows slowly with depth.
    """
    initializers: list[onnx.TensorProto] = [helper.make_tensor("scale", 1, [], [(8 / nodes) ** 0.5])]
    graph_nodes: list[onnx.NodeProto] = []
    hidden = "x"
    for block in range(nodes // 8):
        initializers += _block_weights(block)
        graph_nodes += _block(block, hidden)
        hidden = f"b{block}/out"
    graph_nodes.append(helper.make_node("Identity", [hidden], ["y"], name="last"))
    path = _saved(folder, graph_nodes, initializers, (1, WIDTH))
    return _with_data(f"deep_{nodes}", path, samples=2, width=WIDTH)


def wide(matrices: int, folder: Path, *, external_data: bool = True, samples: int = 2) -> BuiltModel:
    """`matrices` MatMuls of 64 MiB of weights each, with a Relu behind each."""
    graph_nodes: list[onnx.NodeProto] = []
    stubs: list[onnx.TensorProto] = []
    hidden = "x"
    for index in range(matrices):
        stubs.append(onnx.TensorProto(name=f"w{index}", dims=[FEATURES, FEATURES], data_type=onnx.TensorProto.FLOAT))
        graph_nodes.append(helper.make_node("MatMul", [hidden, f"w{index}"], [f"m{index}"], name=f"matmul{index}"))
        hidden = "y" if index == matrices - 1 else f"r{index}"
        graph_nodes.append(helper.make_node("Relu", [f"m{index}"], [hidden], name=f"relu{index}"))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    model = _model(graph_nodes, [], ("batch", FEATURES))
    write = writer.write_external if external_data else writer.write_inline
    write(path, model, stubs, _matrix)
    return _with_data(f"wide_{matrices}", path, samples=samples, width=FEATURES)


def samples_of(built: BuiltModel, count: int, folder: Path) -> Path:
    """`count` samples for `built`, its own ones over and over with other noise, as one .npz file."""
    with np.load(built.calibration) as arrays:
        grown = {name: _repeated(arrays[name], name, count) for name in arrays.files}
    path = folder / f"{built.name}.{count}.npz"
    np.savez(path, **grown)  # type: ignore[arg-type]
    return path


def _repeated(array: np.ndarray, name: str, count: int) -> np.ndarray:
    if array.ndim == 0:
        return array
    repeated = np.concatenate([array] * -(-count // len(array)))[:count]
    if array.dtype == np.float32:
        repeated += generator(0, f"repeated/{name}").standard_normal(repeated.shape, np.float32) * np.float32(0.1)
    return repeated


def _block_weights(block: int) -> Iterator[onnx.TensorProto]:
    rng = generator(0, f"deep/{block}")
    for name, dims in (("w", (WIDTH, WIDTH)), ("v", (WIDTH, WIDTH)), ("b", (WIDTH,))):
        values = rng.standard_normal(dims, np.float32) / np.float32(WIDTH**0.5)
        yield onnx.numpy_helper.from_array(values, f"b{block}/{name}")


def _block(block: int, hidden: str) -> Iterator[onnx.NodeProto]:
    steps = (
        ("MatMul", [hidden, "w"], "matmul"),
        ("Add", ["matmul", "b"], "biased"),
        ("Relu", ["biased"], "relu"),
        ("MatMul", [hidden, "v"], "gate_in"),
        ("Sigmoid", ["gate_in"], "gate"),
        ("Mul", ["relu", "gate"], "gated"),
        ("Mul", ["gated", "scale"], "scaled"),
        ("Add", [hidden, "scaled"], "out"),
    )
    for operator, inputs, output in steps:
        own = [name if name in (hidden, "scale") else f"b{block}/{name}" for name in inputs]
        yield helper.make_node(operator, own, [f"b{block}/{output}"], name=f"block{block}/{output}")


def _model(
    nodes: list[onnx.NodeProto], initializers: list[onnx.TensorProto], dims: tuple[int | str, ...]
) -> onnx.ModelProto:
    ports = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, dims) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "benchmark", ports[:1], ports[1:], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)


def _saved(
    folder: Path, nodes: list[onnx.NodeProto], initializers: list[onnx.TensorProto], dims: tuple[int | str, ...]
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    onnx.save(_model(nodes, initializers, dims), path)
    return path


def _with_data(name: str, path: Path, *, samples: int, width: int) -> BuiltModel:
    built = BuiltModel(name, path, path.parent / "calibration.npz", path.parent / "evaluation.npz")
    for file in (built.calibration, built.evaluation):
        np.savez(file, x=generator(0, f"{name}/{file.stem}").standard_normal((samples, width), np.float32))
    return built


def _matrix(stub: onnx.TensorProto) -> np.ndarray:
    """He et al. 2015, equation 10, before a rectifier."""
    values = generator(0, f"wide/{stub.name}").standard_normal(tuple(stub.dims), np.float32)
    values *= np.float32((2 / FEATURES) ** 0.5)
    return values
