"""The digest of a model's weights, in hexadecimal; structure_digest.py has that of its graph."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np
import onnx_ir as ir
import xxhash

from autocast_core.graph.annotations import content_digest, set_content_digest
from autocast_core.graph.constants import stored_bytes
from autocast_core.graph.walk import all_graphs
from autocast_core.model.tensors import byte_blocks
from autocast_core.progress import Progress, ProgressCallback, silent

_BLOCK_BYTES = 1 << 20


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
