"""Readers of calibration data, one format a file. They say what arrays there are before they read any."""

from autocast_core.data.readers.arrays import ArraysPart
from autocast_core.data.readers.npz import NpzPart
from autocast_core.data.readers.part import ArrayHeader, ArrayReader, Part
from autocast_core.data.readers.polygraphy import polygraphy_parts
from autocast_core.data.readers.random import RandomBatches

__all__ = ["ArrayHeader", "ArrayReader", "ArraysPart", "NpzPart", "Part", "RandomBatches", "polygraphy_parts"]
