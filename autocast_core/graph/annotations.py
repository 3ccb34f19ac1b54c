"""What AutoCast Flow notes on a model beside its graph: one typed accessor a note, the only place that knows the keys.

Notes in `metadata_props` are part of the file. Anybody may have written them, so they are read as untrusted text:

- `kept_nodes` (model): set by apply; read by decide, so that converting a converted model keeps what was kept; taken
  back by sanitize where it widens the model.
- `replaced_names` (node): set by the fusion of LayerNormalization; read by decide, whose name patterns match them.

Notes in `meta` live in memory only, `Graph.clone` copies them. Each is a fact about what it is noted on, and whoever
makes it false must take it back:

- `is_flat` (main graph, body): no node holds a body. Set when a model is read (protobuf.serde) and when it is
  sanitized; trusted by every traversal. Giving a node a body calls for `note_flat` of `graph.walk` again; only inlining
  functions does, in sanitize.
- `may_have_quantization_annotations` (main graph): set when a model is read; trusted when it is written. Nothing adds
  annotations after reading.
- `training_info`, `map_types` (main graph): parts of the file that onnx_ir cannot hold. Set when a model is read, put
  back when it is written. Map types go by the names of values; nothing renames a value that is a map.
- `content_digest` (tensor): set when all elements were read (`digest.hashed`); trusted by `weights_digest`. Tensors are
  immutable here: a change makes a new tensor, which has no note.
- `function_origin` (node of a function's body): set and taken back by sanitize around inlining, as is `function_call`
  (node), in `metadata_props` because inlining copies those of a call to the nodes that take its place.
- `quantization_annotation` (value): onnx_ir's own key, for GraphProto.quantization_annotation. Renaming passes rewrite
  the names in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import onnx_ir as ir

_KEPT_NODES = "autocast.fp32_nodes"
_REPLACES = "autocast.replaces"

_FLAT = "autocast.flat"
_ANNOTATED = "autocast.annotated"
_TRAINING_INFO = "autocast.training_info"
_MAP_TYPES = "autocast.map_types"
_CONTENT = "autocast.content"
_FUNCTION_ORIGIN = "autocast.function_node"
_FUNCTION_CALL = "autocast.call"
_QUANTIZATION = "quant_parameter_tensor_names"

_NO_TYPES: Mapping[str, bytes] = MappingProxyType({})

FunctionKey = tuple[str, str, str]
"""Domain, name and overload of a model-local function."""


def raw_attributes(node: ir.Node) -> dict[str, ir.Attr]:
    """The dictionary behind `node.attributes`, for loops over all nodes: look, do not change.

    `node.attributes` is a collections.UserDict; most nodes have no attributes, and learning that from the wrapper costs
    ten times as much.
    """
    return node.attributes.data


def kept_nodes(model: ir.Model) -> tuple[str, ...]:
    """The ids of the nodes that an earlier conversion of `model` kept in FP32; none where there was none."""
    return _names(model.metadata_props.get(_KEPT_NODES))


def set_kept_nodes(model: ir.Model, node_ids: Iterable[str]) -> None:
    """Note the ids of the nodes that were kept in FP32, as a JSON list, also where there are none."""
    model.metadata_props[_KEPT_NODES] = json.dumps(list(node_ids))


def forget_kept_nodes(model: ir.Model) -> None:
    """Take the note of `set_kept_nodes` back."""
    model.metadata_props.pop(_KEPT_NODES, None)


def replaced_names(node: ir.Node) -> tuple[str, ...]:
    """The names of the source's nodes that a fused `node` stands for; none for any other node."""
    return _names(node.metadata_props.get(_REPLACES))


def set_replaced_names(node: ir.Node, names: Iterable[str]) -> None:
    """Note the names of the source's nodes that `node` stands for, as a JSON list."""
    node.metadata_props[_REPLACES] = json.dumps(list(names))


def _names(text: str | None) -> tuple[str, ...]:
    """The strings of a JSON list; none where somebody else wrote something else under the key."""
    try:
        names = json.loads(text) if text else ()
    except (ValueError, RecursionError):
        return ()
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()


def is_flat(graph: ir.Graph) -> bool:
    """Whether it is known that no node of `graph` holds a body."""
    return _FLAT in graph.meta


def set_flat(graph: ir.Graph, flat: bool) -> None:
    """Note that no node of `graph` holds a body, or take such a note back."""
    if flat:
        graph.meta[_FLAT] = True
    else:
        graph.meta.pop(_FLAT, None)


def may_have_quantization_annotations(graph: ir.Graph) -> bool:
    """Whether a value of the model whose main graph is `graph` may have a quantization annotation."""
    return bool(graph.meta.get(_ANNOTATED, True))


def set_has_quantization_annotations(graph: ir.Graph, annotated: bool) -> None:
    """Note whether any graph of the model whose main graph is `graph` has quantization annotations."""
    graph.meta[_ANNOTATED] = annotated


def training_info(graph: ir.Graph) -> tuple[bytes, ...]:
    """The serialized TrainingInfoProtos of the model whose main graph is `graph`."""
    infos: tuple[bytes, ...] = graph.meta.get(_TRAINING_INFO, ())
    return infos


def set_training_info(graph: ir.Graph, infos: tuple[bytes, ...]) -> None:
    """Keep serialized TrainingInfoProtos with the main graph."""
    graph.meta[_TRAINING_INFO] = infos


def map_types(graph: ir.Graph) -> Mapping[str, bytes]:
    """The serialized TypeProtos of the main graph's values that hold maps, by name."""
    types: Mapping[str, bytes] = graph.meta.get(_MAP_TYPES, _NO_TYPES)
    return types


def set_map_types(graph: ir.Graph, types: Mapping[str, bytes]) -> None:
    """Keep the serialized TypeProtos of values that hold maps, by name, with the main graph."""
    graph.meta[_MAP_TYPES] = types


def content_digest(tensor: ir.TensorProtocol) -> bytes | None:
    """The XXH3-128 digest of the elements of `tensor`, None where they have not all been read."""
    digest: bytes | None = tensor.meta.get(_CONTENT)
    return digest


def set_content_digest(tensor: ir.TensorProtocol, digest: bytes) -> None:
    """Note the XXH3-128 digest of the elements of `tensor`."""
    tensor.meta[_CONTENT] = digest


def function_origin(node: ir.Node) -> tuple[FunctionKey, str] | None:
    """The function that `node` stood in before inlining and its name there; None for other nodes."""
    origin: tuple[FunctionKey, str] | None = node.meta.get(_FUNCTION_ORIGIN)
    return origin


def set_function_origin(node: ir.Node, origin: tuple[FunctionKey, str] | None) -> None:
    """Note the function that `node` stands in and its name there; None takes the note back."""
    if origin is None:
        node.meta.pop(_FUNCTION_ORIGIN, None)
    else:
        node.meta[_FUNCTION_ORIGIN] = origin


def set_function_call(node: ir.Node, name: str) -> None:
    """Note the name that the call `node` of a function gives to the nodes that take its place."""
    node.metadata_props[_FUNCTION_CALL] = name


def take_function_call(node: ir.Node) -> str | None:
    """The name of the call in whose place `node` stands, None for other nodes; the note is taken back."""
    return node.metadata_props.pop(_FUNCTION_CALL, None)


def quantization_annotation(value: ir.Value) -> Mapping[str, str] | None:
    """The names of the tensors with which `value` is quantized (SCALE_TENSOR, ...), None where it has none."""
    names: Mapping[str, str] | None = value.meta.get(_QUANTIZATION) if value.meta else None
    return names


def set_quantization_annotation(value: ir.Value, names: Mapping[str, str]) -> None:
    """Say with the tensors of which names `value` is quantized."""
    value.meta[_QUANTIZATION] = dict(names)
