"""Loading and saving models without loading their weights; digests."""

from autocast_core.file_digest import combined_digest, file_digest, files_digest
from autocast_core.model.digest import weights_digest
from autocast_core.model.reader import (
    ModelFile,
    ModelSource,
    load_model,
    load_proto,
    model_files,
    model_structure,
    open_model,
    read_model,
)
from autocast_core.model.reference import ModelRef
from autocast_core.model.rounding import RoundBlock
from autocast_core.model.structure_digest import structure_digest
from autocast_core.model.tensors import ConvertedTensor, FileTensor, byte_blocks, chunks
from autocast_core.model.traverse import all_tensors, map_tensors
from autocast_core.model.writer import SavedModel, runtime_model, save_model, save_skeleton
from autocast_core.model.written_weights import WrittenWeights

__all__ = [
    "ConvertedTensor",
    "FileTensor",
    "ModelFile",
    "ModelRef",
    "ModelSource",
    "RoundBlock",
    "SavedModel",
    "WrittenWeights",
    "all_tensors",
    "byte_blocks",
    "chunks",
    "combined_digest",
    "file_digest",
    "files_digest",
    "load_model",
    "load_proto",
    "map_tensors",
    "model_files",
    "model_structure",
    "open_model",
    "read_model",
    "runtime_model",
    "save_model",
    "save_skeleton",
    "structure_digest",
    "weights_digest",
]
