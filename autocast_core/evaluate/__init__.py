"""How good a converted model is: fidelity to the original, task accuracy, and gates on both."""

from autocast_core.evaluate.errors import ErrorSums, OutputFidelity
from autocast_core.evaluate.fidelity import Evaluation, Fidelity, compare, evaluate
from autocast_core.evaluate.gates import Gate, GateResult, parse_gate
from autocast_core.evaluate.task import TaskMetrics, Top1

__all__ = [
    "ErrorSums",
    "Evaluation",
    "Fidelity",
    "Gate",
    "GateResult",
    "OutputFidelity",
    "TaskMetrics",
    "Top1",
    "compare",
    "evaluate",
    "parse_gate",
]
