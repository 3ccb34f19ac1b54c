"""Whether a runtime takes the model, without computing or copying its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx_ir as ir

from autocast_core.errors import BackendError, MissingOperatorError, VerificationError
from autocast_core.graph.walk import all_graphs
from autocast_core.model.protobuf.serialized_parts import WEIGHTS_LOCATION, Structure, structure_of
from autocast_core.runtime import Runtime, RuntimeModel
from autocast_core.verify.node_signatures import one_node_per_signature

_LIMITATIONS = (
    "could not find an implementation",
    "failed to find kernel",
    # ONNX Runtime's own casts around a kernel it lacks, typed wrongly where an attribute states the output's type.
    "insertedprecisionfreecast",
    "is not a registered function/op",
    "not implemented",
    "no op registered",
    "is under development",
    "unsupported model ir version",
    "opset",
    "cannot be imported",
    "has no ",
    "could not start",
)
"""What runtimes say when they lack something, as against when the model is wrong."""

WHOLE_NODES = 2000
"""Models of at most so many nodes, bodies included, are loaded whole, larger ones by one node of each signature."""


@contextmanager
def hollow(structure: Structure) -> Iterator[RuntimeModel]:
    """A model for a runtime with zeros in the place of its weights, which cost neither memory nor disk: a file of
    holes, in which a weight begins at the byte of its number."""
    with TemporaryDirectory(prefix="autocast-load-") as folder:
        with (Path(folder) / WEIGHTS_LOCATION).open("wb") as file:
            file.truncate(max((index + tensor.nbytes for index, tensor in enumerate(structure.weights)), default=0))
        yield RuntimeModel(structure.data, Path(folder))


def load_finding(
    model: ir.Model, structure: Structure, runtime: Runtime, original: Callable[[], ir.Model] | None = None
) -> str | None:
    """None where `runtime` loads `model`, of which `structure` is what structure_of gives, else the runtime's message.

    VerificationError where the model is to blame: the runtime loads the `original`, if one is given, and its message is
    not one of those for a missing kernel or operator.
    """
    try:
        _open(model, structure, runtime)
    except BackendError as error:
        known = isinstance(error, MissingOperatorError)
        lacks = known or any(phrase in str(error).lower() for phrase in _LIMITATIONS)
        if lacks or (original is not None and not _loads(original(), runtime)):
            return str(error)
        raise VerificationError(f"the converted model does not load in {runtime.name}: {error}") from error
    return None


def _loads(model: ir.Model, runtime: Runtime) -> bool:
    try:
        _open(model, structure_of(model), runtime)
    except BackendError:
        return False
    return True


def _open(model: ir.Model, structure: Structure, runtime: Runtime) -> None:
    nodes = sum(map(len, all_graphs(model.graph)))
    opened = model if nodes <= WHOLE_NODES else one_node_per_signature(model)
    with hollow(structure if opened is model else structure_of(opened)) as content:
        runtime.open(opened, exact=True, few_runs=True, content=content).close()
