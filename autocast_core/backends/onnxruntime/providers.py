"""ONNX Runtime's execution providers: which to ask for, and which really took the nodes.

ONNX Runtime falls back silently: where a provider cannot start, or takes no node, the next one computes. So what was
asked for is compared with what was got, and a warning says so, as AutoCast goes on with the CPU, too.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from autocast_core.backends.cuda_driver import has_driver
from autocast_core.errors import ConfigError
from autocast_core.graph.walk import all_nodes
from autocast_core.operators.signature import find_signature

logger = logging.getLogger(__name__)

Options = dict[str, str]
NAMES = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "trt": "TensorrtExecutionProvider",
}
RECORD_ASSIGNMENT = "session.record_ep_graph_assignment_info"
"""Session option (ONNX Runtime 1.24 and later) without which `used` learns nothing."""
_ONNX_RUNTIMES_OWN = "com.microsoft"


def parse(provider: str) -> tuple[str, Options]:
    """ONNX Runtime's name and options of AutoCast's ``cpu``, ``cuda``, ``cuda:N``, ``trt`` or ``trt:N``.

    ConfigError for any other text.
    """
    kind, _, device = provider.partition(":")
    if kind not in NAMES or (device and (kind == "cpu" or not device.isdigit())):
        raise ConfigError(f"provider {provider!r}: give cpu, cuda, cuda:N, trt or trt:N")
    return NAMES[kind], {"device_id": device} if device else {}


def choose(
    providers: Sequence[str], model: ir.Model, available: Sequence[str], plugins: Sequence[str] = ()
) -> list[tuple[str, Options]]:
    """The providers to open `model` with, the CPU last: those asked for that there are; where none was asked for, the
    CPU alone, and TensorRT before it where the model has a custom operator and this machine TensorRT.

    `available` are those of the installed ONNX Runtime; TensorRT loads `plugins`.
    """
    asked = [parse(each) for each in providers] or _by_itself(model, available)
    wanted = [(name, _with_plugins(name, options, plugins)) for name, options in asked if name in available]
    cpu: tuple[str, Options] = (NAMES["cpu"], {})
    return wanted if cpu in wanted else [*wanted, cpu]


def missing(providers: Sequence[str], available: Sequence[str]) -> list[str]:
    """ONNX Runtime's names of those of `providers` that are not `available`."""
    return [name for name, _ in map(parse, providers) if name not in available]


def custom_operator(model: ir.Model) -> ir.Node | None:
    """The first node whose operator neither ONNX, ONNX Runtime nor the model defines; None where there is none."""
    for node in all_nodes(model.graph):
        if node.domain.startswith(_ONNX_RUNTIMES_OWN) or node.op_identifier() in model.functions:
            continue
        if find_signature(node.domain, node.op_type, model.opset_imports.get(node.domain, 1)) is None:
            return node
    return None


def _by_itself(model: ir.Model, available: Sequence[str]) -> list[tuple[str, Options]]:
    node = custom_operator(model) if NAMES["trt"] in available else None
    if node is None or not has_driver():
        return [(NAMES["cpu"], {})]
    logger.info(
        "custom operator %s (node %s): the TensorRT execution provider is enabled; --providers overrides this",
        node.op_type,
        node.name,
    )
    return [(NAMES["trt"], {}), (NAMES["cpu"], {})]


def _with_plugins(name: str, options: Options, plugins: Sequence[str]) -> Options:
    if name != NAMES["trt"] or not plugins:
        return options
    return {**options, "trt_extra_plugin_lib_paths": ";".join(plugins)}


def warn_of_fallback(wanted: Sequence[tuple[str, Options]], started: Sequence[str]) -> None:
    """Log a warning where a provider that was asked for is not among those that ONNX Runtime started."""
    absent = [name for name, _ in wanted if name not in started]
    if absent:
        logger.warning(
            "ONNX Runtime could not start %s: going on with %s; check its driver and libraries, or give --providers "
            "without it",
            absent[0],
            started[0],
        )


def used(session: Any, wanted: Sequence[tuple[str, Options]]) -> str:
    """AutoCast's name (``cpu``, ``cuda``, ``trt``) of the provider that took most nodes.

    A warning is logged where that is not the first one asked for.
    """
    short = {name: kind for kind, name in NAMES.items()}
    first = wanted[0][0]
    if first == NAMES["cpu"]:
        return short[first]
    try:
        assigned = session.get_provider_graph_assignment_info()
    except Exception:  # older than 1.24, or not recorded: what was started is all that is known
        return short[first]
    counts: Counter[str] = Counter()
    for subgraph in assigned:
        counts[subgraph.ep_name] += len(subgraph.get_nodes())
    logger.info("ONNX Runtime's nodes by provider: %s", dict(counts))
    most = max(counts, key=lambda name: counts[name], default=first)
    if most != first:
        logger.warning("%s was asked for but %s computes most nodes (%s)", first, most, dict(counts))
    return short.get(most, most)
