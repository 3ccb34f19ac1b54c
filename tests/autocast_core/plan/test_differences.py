from autocast_core.config import Precision
from autocast_core.plan import NodeDecision, PrecisionPlan, diff

A = NodeDecision("graph/a", "Mul", Precision.FP16, "default")
B = NodeDecision("graph/b", "Exp", Precision.FP32, "io_range")
N = NodeDecision("graph/n", "Foo", Precision.NONE, "no_float")


def plan(*nodes: NodeDecision) -> PrecisionPlan:
    return PrecisionPlan(Precision.FP16, "5" * 64, "6" * 64, nodes)


def test_a_diff_lists_what_differs_in_order():
    kept = NodeDecision("graph/a", "Mul", Precision.FP32, "search")
    added = NodeDecision("graph/z", "Neg", Precision.FP16, "default")
    changes = diff(plan(A, B, N), plan(B, kept, added))
    assert [(change.id, change.before, change.after) for change in changes] == [
        ("graph/a", A, kept),
        ("graph/n", N, None),
        ("graph/z", None, added),
    ]


def test_a_plan_does_not_differ_from_itself():
    assert diff(plan(A, B, N), plan(A, B, N)) == ()
