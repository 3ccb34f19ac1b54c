"""Attention cores: where a graph computes softmax(Q Kᵀ · scale + mask) V, and whether it can be one kernel."""

from autocast_core.attention.core import AttentionCore, Mask, ProductLink, Scale
from autocast_core.attention.find_cores import attention_cores
from autocast_core.attention.fusion import Obstacle, fusion_obstacles
from autocast_core.attention.price import CorePrice, Elements, core_price

__all__ = [
    "AttentionCore",
    "CorePrice",
    "Elements",
    "Mask",
    "Obstacle",
    "ProductLink",
    "Scale",
    "attention_cores",
    "core_price",
    "fusion_obstacles",
]
