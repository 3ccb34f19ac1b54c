"""Composite models: several ONNX models that feed each other, judged where the chain ends.

An encoder and its decoder, a detector and a recogniser, a model that reads the prompt and one that generates with a
cache. Their FP32 form is run beside a form in which some stages are converted. What happens between models must be ONNX
too (a stage of its own, which no one converts); only greedy decoding is done here.
"""

from autocast_core.composite.declaration import CompositeModel, GreedyDecoding, ModelStage, Origin
from autocast_core.composite.evaluate_composite import (
    CompositeEvaluation,
    CompositeRequest,
    StageFiles,
    evaluate_composite,
)

__all__ = [
    "CompositeEvaluation",
    "CompositeModel",
    "CompositeRequest",
    "GreedyDecoding",
    "ModelStage",
    "Origin",
    "StageFiles",
    "evaluate_composite",
]
