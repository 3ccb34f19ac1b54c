"""What a choice of types costs, and the cheapest choice: a minimum cut over bytes."""

from autocast_core.apply.placement.cheapest import cheapest, regions
from autocast_core.apply.placement.costs import Crossing, PrecisionCosts
from autocast_core.apply.placement.traffic import traffic_costs

__all__ = ["Crossing", "PrecisionCosts", "cheapest", "regions", "traffic_costs"]
