"""Digests of files and of weights, in hexadecimal. structure.py has the digest of a graph."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
import xxhash

from autocast_core.errors import ModelError
from autocast_core.graph.annotations import content_digest, set_content_digest
from autocast_core.graph.constants import stored_bytes
from autocast_core.graph.walk import all_graphs
from autocast_core.model.tensors import byte_blocks
from autocast_core.progress import Progress, ProgressCallback, silent

_BLOCK_BYTES = 1 << 20


def file_digest(path: str | Path) -> str:
    """The digest of a file's bytes, read in blocks. ModelError where it cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error


def files_digest(root: str | Path, files: Iterable[str | Path]) -> str:
    """The digest of one file, or of the canonical JSON {path relative to `root`: digest} of several."""
    paths = [Path(file) for file in files]
    if len(paths) == 1:
        return file_digest(paths[0])
    return combined_digest({path.relative_to(root).as_posix(): file_digest(path) for path in paths})


def combined_digest(digests: Mapping[str, str]) -> str:
    """The digest of several files from theirs: sha256 of the canonical JSON {relative path: digest}."""
    text = json.dumps(dict(digests), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def weights_digest(model: ir.Model, progress: ProgressCallback = silent) -> str:
    """The digest of all initializers, bodies included: sha256 over the name, type, shape and XXH3 digest of each, in
    order of names.

    It tells checkpoints apart and does not protect against tampering, so weights pass through a hash that costs no more
    than reading them (XXH3-128, https://xxhash.com).
    """
    values = [value for graph in all_graphs(model.graph) for value in graph.initializers.values()]
    named = sorted(values, key=lambda value: value.name or "")
    total = sum(_nbytes(value.const_value) for value in named)
    digest, done = hashlib.sha256(), 0
    for value in named:
        tensor = value.const_value
        if tensor is None:
            continue
        head = f"{value.name}\0{tensor.dtype.name}\0{list(tensor.shape)}\0"
        digest.update(head.encode())
        digest.update(_content_digest(tensor))
        done += _nbytes(tensor)
        progress(Progress("digest", done, total, "bytes"))
    return digest.hexdigest()


def hashed(tensor: ir.TensorProtocol, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Passes on `blocks`, all the elements of `tensor` in order, and notes their digest with the tensor.

    So a digest of weights need not read again what was read before it.
    """
    digest = xxhash.xxh3_128()
    for block in blocks:
        digest.update(block.view(np.uint8).data)
        yield block
    set_content_digest(tensor, digest.digest())


def _content_digest(tensor: ir.TensorProtocol) -> bytes:
    noted = content_digest(tensor)
    if noted is not None:
        return noted
    digest = xxhash.xxh3_128()
    if type(tensor) is ir.Tensor and tensor.dtype.bitwidth >= 8:
        digest.update(tensor.tobytes())
    elif isinstance(tensor, ir.StringTensor):
        for item in tensor.string_data():
            digest.update(len(item).to_bytes(8, "little") + item)
    else:
        for block in byte_blocks(tensor):
            digest.update(block)
    return digest.digest()


def _nbytes(tensor: ir.TensorProtocol | None) -> int:
    return 0 if tensor is None or tensor.dtype == ir.DataType.STRING else stored_bytes(tensor)
