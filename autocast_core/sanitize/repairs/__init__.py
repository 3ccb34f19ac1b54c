"""Repairs of what a source declares wrongly or not at all; what it computes stays as it is."""

from autocast_core.sanitize.repairs.dimensions import open_negative_dimensions
from autocast_core.sanitize.repairs.normalization_axes import state_axes
from autocast_core.sanitize.repairs.plugins import PLUGINS, move_plugins
from autocast_core.sanitize.repairs.repair_source import repair_in_place

__all__ = ["PLUGINS", "move_plugins", "open_negative_dimensions", "repair_in_place", "state_axes"]
