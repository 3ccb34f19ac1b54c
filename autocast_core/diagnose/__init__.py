"""Two models that mean the same: where and why one of them gives other numbers.

`diagnose` matches the values of both, measures every matched tensor in streamed passes, and names the nodes where the
error arises. It says nothing about which of the two is right.
"""

from autocast_core.diagnose.diagnose import diagnose
from autocast_core.diagnose.result import Culprit, Diagnosis, Kind, MatchedTensor, Remedy, TensorDistance

__all__ = ["Culprit", "Diagnosis", "Kind", "MatchedTensor", "Remedy", "TensorDistance", "diagnose"]
