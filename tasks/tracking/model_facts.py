"""What a conversion's records say of its models, read from them where files of strangers are read."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from autocast_core.model.reference import ModelRef
from autocast_core.pipeline.cache import artifact_cache
from autocast_core.report.card import PortRow, port_rows
from autocast_core.report.network import Network, network
from tasks.isolation import isolated


def read_network(model: ModelRef, plan: Path, converted: ModelRef, attribution: Path, for_netron: Path) -> Network:
    """The network that the report shows: a sanitized model as the plan speaks of it, with the casts of `converted`.

    Writes `converted` without its weights and with metadata of nodes, for Netron, to `for_netron`.
    """
    from autocast_core.report.viewers.netron import annotated
    from autocast_core.search.attribution import read_attribution

    cache = artifact_cache()
    made = cache.model(converted)
    shown = annotated(made, cache.plan(plan), read_attribution(attribution))
    for_netron.write_bytes(ir.to_proto(shown).SerializeToString())
    return network(_planned(model, plan), made)


def read_ports(model: ModelRef) -> tuple[PortRow, ...]:
    """The inputs and outputs that the model card lists."""
    from autocast_core.verify import model_interface

    return port_rows(model_interface(artifact_cache().model(model)))


def read_digests(model: ModelRef, plan: Path) -> tuple[str, str]:
    """The digests of the structure and of the weights of a sanitized model as the plan speaks of it."""
    from autocast_core.model import weights_digest
    from autocast_core.model.structure_digest import structure_digest

    found = _planned(model, plan)
    return structure_digest(found), weights_digest(found)


def _planned(model: ModelRef, plan: Path) -> ir.Model:
    from autocast_core.pipeline.planned_graph import planned_model

    cache = artifact_cache()
    return planned_model(cache.model(model), cache.plan(plan))


network_of = isolated(read_network, Network)
ports_of = isolated(read_ports, tuple[PortRow, ...])
digests_of = isolated(read_digests, tuple[str, str])
