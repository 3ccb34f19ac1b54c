"""How good a converted model is: fidelity to the original, task accuracy, and gates on both."""

from autocast_core.evaluate.class_scores import class_score_outputs
from autocast_core.evaluate.classification import ClassAgreement
from autocast_core.evaluate.default_gates import DEFAULT_GATES, AskedGates, default_gates
from autocast_core.evaluate.errors import ErrorSums, OutputFidelity
from autocast_core.evaluate.fidelity import (
    Comparison,
    Evaluation,
    Fidelity,
    FidelitySums,
    compare,
    evaluate,
    output_metric_names,
)
from autocast_core.evaluate.gates import Gate, GateResult, parse_gate
from autocast_core.evaluate.judges import AskedJudge, Judged, asked_judges, parse_judge
from autocast_core.evaluate.metric import TaskMetric, load_metric, task_metric_values
from autocast_core.evaluate.recording import Recording, recorded
from autocast_core.evaluate.task import TaskMetrics, TopK

__all__ = [
    "DEFAULT_GATES",
    "AskedGates",
    "AskedJudge",
    "ClassAgreement",
    "Comparison",
    "ErrorSums",
    "Evaluation",
    "Fidelity",
    "FidelitySums",
    "Gate",
    "GateResult",
    "Judged",
    "OutputFidelity",
    "Recording",
    "TaskMetric",
    "TaskMetrics",
    "TopK",
    "asked_judges",
    "class_score_outputs",
    "compare",
    "default_gates",
    "evaluate",
    "load_metric",
    "output_metric_names",
    "parse_gate",
    "parse_judge",
    "recorded",
    "task_metric_values",
]
