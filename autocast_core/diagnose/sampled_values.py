"""Values of chosen tensors of one model, batch by batch, a sample of each that is large.

A tensor of at most 4,096 elements comes out whole. Of a larger one, or of one whose size only the run knows, come
4,096 elements spread over it (one of each of as many equal stretches, at places drawn once and for all, so that no
regularity of the tensor can hide and two models give the same ones) and its sum of squares over all elements, which is
finite only where they all are. Nothing else leaves the graph, so memory is that of one inference.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import onnx_ir as ir

from autocast_core.calibrate.temporary_nodes import TemporaryNodes
from autocast_core.calibrate.tensor_sizes import Sizes, sizes_of
from autocast_core.graph.names import unused_names, values_by_name
from autocast_core.number_formats import LOW_DTYPES
from autocast_core.runtime import Runtime, Session

SAMPLE_ELEMENTS = 1 << 12
_FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE})
_OTHERS = frozenset(
    {*LOW_DTYPES, ir.DataType.BOOL, ir.DataType.INT64, ir.DataType.INT32, ir.DataType.INT8, ir.DataType.UINT8}
)


@dataclass(frozen=True)
class Sample:
    """Of one tensor: the compared elements, 1-d; whether they are not all there are; whether all, compared or not, are
    finite."""

    elements: np.ndarray
    sampled: bool
    finite: bool


@dataclass
class SampledModel:
    """A model that gives samples of `names`, and of the last batch those of `kept` among them whole, in `arrays`.
    Sessions are opened for the shapes of a batch, again where they change."""

    model: ir.Model
    names: Sequence[str]
    runtime: Runtime
    kept: Collection[str] = ()
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    _session: Session | None = None
    _whole: frozenset[str] = frozenset()
    _floats: frozenset[str] = frozenset()
    _shapes: Mapping[str, tuple[int, ...]] | None = None

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, Sample]:
        """The samples for one batch. BackendError where the model does not run."""
        shapes = {name: np.shape(value) for name, value in feeds.items()}
        if self._session is None or shapes != self._shapes:
            self.close()
            self._open(feeds)
            self._shapes = shapes
        assert self._session is not None
        rest = iter(self._session.run(feeds))
        found = {}
        for name in self.names:
            elements = np.asarray(next(rest))
            whole = name in self._whole
            finite = bool(np.isfinite(next(rest)).all()) if not whole and name in self._floats else True
            if elements.dtype.kind == "f" and finite:
                finite = bool(np.isfinite(elements).all())
            if name in self.kept:
                self.arrays[name] = elements if whole else np.asarray(next(rest))
            found[name] = Sample(elements.reshape(-1), not whole and elements.size >= SAMPLE_ELEMENTS, finite)
        return found

    @property
    def backend(self) -> str:
        """What executes it."""
        return "" if self._session is None else self._session.backend

    def close(self) -> None:
        """Frees the session."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _open(self, feeds: Mapping[str, np.ndarray]) -> None:
        sizes = sizes_of(self.model, feeds)
        known = values_by_name(self.model.graph)
        values = [known[name] for name in self.names]
        self._whole = frozenset(n for n in self.names if sizes.counts.get(n, SAMPLE_ELEMENTS + 1) <= SAMPLE_ELEMENTS)
        self._floats = frozenset(str(value.name) for value in values if value.dtype in _FLOATS)
        with _sampled(self.model, values, self._whole, self.kept, sizes):
            self._session = self.runtime.open(self.model, exact=True, few_runs=True)


def is_measurable(value: ir.Value) -> bool:
    """Whether samples of `value` can be taken and compared."""
    return isinstance(value.type, ir.TensorType) and value.dtype in _FLOATS | _OTHERS


@contextmanager
def sampled_model(
    model: ir.Model, names: Collection[str], runtime: Runtime, kept: Collection[str] = ()
) -> Iterator[SampledModel]:
    """`model` as it gives samples of `names`, values of its main graph, and those `kept` whole; closed in the end."""
    with closing(SampledModel(model, tuple(names), runtime, kept)) as sampled:
        yield sampled


@contextmanager
def _sampled(
    model: ir.Model, values: Sequence[ir.Value], whole: Collection[str], kept: Collection[str], sizes: Sizes
) -> Iterator[None]:
    graph = model.graph
    with ExitStack() as undo:
        write = TemporaryNodes(graph, unused_names(graph).numbered("sampled"), model.opset_imports.get("", 1), undo)
        made: dict[ir.Value, list[ir.Value]] = {}
        # ONNX Runtime takes leaves last in, first out; in forward order every intermediate would stay alive.
        for value in reversed(_in_graph_order(graph, values)):
            name = str(value.name)
            made[value] = [value] if name in whole else _outputs(write, value, sizes.counts.get(name))
            made[value] += [value] if name in kept and name not in whole else []
        write.commit()
        write.set_outputs(output for value in values for output in made[value])
        yield


def _in_graph_order(graph: ir.Graph, values: Sequence[ir.Value]) -> list[ir.Value]:
    wanted = set(values)
    return [v for vs in (graph.inputs, *(node.outputs for node in graph)) for v in vs if v in wanted]


def _outputs(write: TemporaryNodes, value: ir.Value, count: int | None) -> list[ir.Value]:
    flat = write("Reshape", value, write.constant(np.array([-1])))
    elements = write("Gather", flat, _indices(write, value, count))
    elements.type = value.type
    if value.dtype not in _FLOATS:
        return [elements]
    squares = write("ReduceSumSquare", value, keepdims=0)
    squares.type = value.type
    return [elements, squares]


def _indices(write: TemporaryNodes, value: ir.Value, count: int | None) -> ir.Value:
    if count is not None:
        return write.once(("indices", count), lambda: write.constant(_places(count)))
    size = write("Cast", write("Size", value), to=int(ir.DataType.DOUBLE))
    most = write.constant(np.array(float(SAMPLE_ELEMENTS)))
    # Of a tensor that is no larger the places are 0, 1, 2 … as far as it goes: all of it.
    scaled = write("Mul", write("Max", size, most), write.constant(_positions()))
    indices = write("Cast", scaled, to=int(ir.DataType.INT64))
    length = write("Cast", write("Min", size, most), to=int(ir.DataType.INT64))
    end = write("Reshape", length, write.constant(np.array([1])))
    return write("Slice", indices, write.constant(np.array([0])), end)


def _places(count: int) -> np.ndarray:
    return (_positions() * count).astype(np.int64)


@lru_cache(maxsize=1)
def _positions() -> np.ndarray:
    return (np.arange(SAMPLE_ELEMENTS) + np.random.default_rng(0).random(SAMPLE_ELEMENTS)) / SAMPLE_ELEMENTS
