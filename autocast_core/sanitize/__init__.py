"""Brings a model into the one form that the later stages work on; see `sanitize`."""

from autocast_core.sanitize.change import Change, Sanitized
from autocast_core.sanitize.masks import MaskPath, mask_paths
from autocast_core.sanitize.repairs import repair_in_place
from autocast_core.sanitize.sanitize import sanitize, sanitize_in_place, widen_in_place

__all__ = [
    "Change",
    "MaskPath",
    "Sanitized",
    "mask_paths",
    "repair_in_place",
    "sanitize",
    "sanitize_in_place",
    "widen_in_place",
]
