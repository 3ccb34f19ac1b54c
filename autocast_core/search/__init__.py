"""Accuracy on demand: which nodes cost how much accuracy, and the smallest set of FP32 nodes that meets a budget."""

from autocast_core.evaluate.metric import TaskMetric, load_metric
from autocast_core.plan import NodeError
from autocast_core.search.attribution import Attribution, attribute
from autocast_core.search.request import SearchLimits, SearchRequest, SearchSubject
from autocast_core.search.result import CertificateEntry, ParetoPoint, SearchResult
from autocast_core.search.search import search
from autocast_core.search.trials import FileTrials, MemoryTrials, Trial, TrialStore

__all__ = [
    "Attribution",
    "CertificateEntry",
    "FileTrials",
    "MemoryTrials",
    "NodeError",
    "ParetoPoint",
    "SearchLimits",
    "SearchRequest",
    "SearchResult",
    "SearchSubject",
    "TaskMetric",
    "Trial",
    "TrialStore",
    "attribute",
    "load_metric",
    "search",
]
