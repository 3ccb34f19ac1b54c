"""What boundary tensors take: on disk, where they wait for the segments that read them, and in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import onnx_ir as ir

from autocast_core.backends.segments.cut_graph import Segment

_UNKNOWN_TYPE_BYTES = 4.0


@dataclass(frozen=True)
class Lives:
    """By name of what segments make: the segment that makes it, and the last that reads it. What the model gives is
    read once more when all have run."""

    begin: Mapping[str, int]
    end: Mapping[str, int]

    @staticmethod
    def of(segments: Sequence[Segment], outputs: Iterable[str]) -> Lives:
        """Those of `segments`, which make what the model gives, `outputs`."""
        begin = {name: number for number, each in enumerate(segments) for name in each.makes}
        end = {name: number for number, each in enumerate(segments) for name in each.reads if name in begin}
        return Lives(begin, end | dict.fromkeys(outputs, len(segments)))

    def ended(self, segment: int) -> list[str]:
        """What nobody reads behind `segment`."""
        return [name for name, last in self.end.items() if last == segment]

    def most_bytes(self, sizes: Mapping[str, int], segment: int) -> int:
        """The most bytes that wait at one time, for one batch, from `segment` on; what has no size does not count."""
        change = [0] * (max(self.end.values(), default=0) + 2)
        for name, last in self.end.items():
            change[self.begin[name]] += sizes.get(name, 0)
            change[last + 1] -= sizes.get(name, 0)
        return max(list(accumulate(change))[segment:])


def boundary_bytes(model: ir.Model, names: Iterable[str], counts: Mapping[str, int]) -> dict[str, int]:
    """By those of `names` whose numbers of elements `counts` has, the bytes of one batch."""
    types = {str(value.name): value.dtype for node in model.graph for value in node.outputs}
    return {name: int(counts[name] * _element_bytes(types.get(name))) for name in names if name in counts}


def _element_bytes(dtype: ir.DataType | None) -> float:
    return _UNKNOWN_TYPE_BYTES if dtype is None or dtype == ir.DataType.STRING else dtype.itemsize
