"""Which nodes a lowered model's error comes from: one pass of one instrumented graph."""

from autocast_core.plan import NodeError
from autocast_core.search.attribution.attribute import Attribution, Probing, attribute, read_attribution

__all__ = ["Attribution", "NodeError", "Probing", "attribute", "read_attribution"]
