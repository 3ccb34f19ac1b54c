"""Real architectures as test models: exported graphs without weights, and a function that fills them.

graphs/NAME.onnx is the full architecture, graphs/NAME.2layers.onnx the same with full-width blocks, at most two a
stage (and a vocabulary of 4,096), for tests that must be quick. export.py made them; recipe.py holds the weights'
recipe and inputs.py the data. Needs numpy and onnx only.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from tests.models import recipe, writer
from tests.models.inputs import inputs

ARCHITECTURES: tuple[str, ...] = (
    "resnet50",
    "bert_base",
    "vit_base",
    "gpt2",
    "llama_100m",
    "t5_small",
    "whisper_encoder",
    "swin_tiny",
    "swin_tiny_traced",
    "mobilenet_v2",
    "lstm",
    "unet",
    "if_loop",
)
DETECTORS: tuple[str, ...] = ("detector",)
"""Networks that choose among their own results, so that a rounding may give another choice: not for every test."""

_GRAPHS = Path(__file__).parent / "graphs"


@dataclass(frozen=True)
class BuiltModel:
    """A model on disk with its data: `path` is model.onnx, `calibration` and `evaluation` are .npz files."""

    name: str
    path: Path
    calibration: Path
    evaluation: Path


def build(
    name: str, folder: Path, *, layers: int | None = None, external_data: bool = False, seed: int = 0
) -> BuiltModel:
    """Write architecture `name` with seeded FP32 weights, and its calibration and evaluation data, to `folder`.

    `layers` is None (full size) or 2. With `external_data` the weights lie in model.onnx.data. The same arguments
    give the same bytes. Raises ValueError for a name or a number of layers that has no graph.
    """
    source = _GRAPHS / (f"{name}.onnx" if layers is None else f"{name}.{layers}layers.onnx")
    if name not in (*ARCHITECTURES, *DETECTORS) or not source.is_file():
        raise ValueError(
            f"no graph of {name!r} with layers={layers}: take layers=2 or None of {(*ARCHITECTURES, *DETECTORS)}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    model = onnx.load(source)
    weights = _take_stubs(model.graph)
    by_name = {stub.name: stub for stub in weights}

    def values(stub: onnx.TensorProto) -> np.ndarray:
        match stub.doc_string.split():
            case ["copy", other]:
                return values(by_name[other])
            case ["transpose", other]:
                return values(by_name[other]).T
        return recipe.values(stub.doc_string, stub.name, tuple(stub.dims), seed)

    built = BuiltModel(name, folder / "model.onnx", folder / "calibration.npz", folder / "evaluation.npz")
    write = writer.write_external if external_data else writer.write_inline
    write(built.path, model, weights, values)
    vocabulary = max((stub.dims[0] for stub in weights if stub.doc_string.startswith("embedding")), default=0)
    for path in (built.calibration, built.evaluation):
        np.savez(path, **inputs(name, path.stem, vocabulary, seed))  # type: ignore[arg-type]
    return built


def _take_stubs(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    """Remove the stubs of weights from `graph` and return them; inflate the architecture's own tables in place."""
    stubs: list[onnx.TensorProto] = []
    kept: list[onnx.TensorProto] = []
    for tensor in graph.initializer:
        if tensor.doc_string == "deflated":
            tensor.raw_data = zlib.decompress(tensor.raw_data)
            tensor.ClearField("doc_string")
        (stubs if tensor.doc_string else kept).append(onnx.TensorProto.FromString(tensor.SerializeToString()))
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return stubs
