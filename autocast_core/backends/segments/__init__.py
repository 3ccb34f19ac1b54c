"""Running models that memory does not hold: one part of the graph after the other, each over all batches."""

from autocast_core.backends.segments.cut_graph import Segment, cut_graph
from autocast_core.backends.segments.lockstep import Lockstep
from autocast_core.backends.segments.segmented_runtime import SegmentedRuntime

__all__ = ["Lockstep", "Segment", "SegmentedRuntime", "cut_graph"]
