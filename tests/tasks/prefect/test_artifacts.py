import pytest

from autocast_core.config import Precision
from autocast_core.plan import NodeDecision
from tasks.prefect.artifacts import artifact_key, links, precisions_by_operator, summary_text
from tasks.tracking.runs import RunRef


def node(op_type, precision, domain=""):
    return NodeDecision(f"graph/{op_type}", op_type, precision, "default", domain)


def test_operators_are_counted_by_precision_the_most_frequent_first():
    nodes = [
        node("Softmax", Precision.FP32),
        node("MatMul", Precision.FP16),
        node("MatMul", Precision.FP32),
        node("Gelu", Precision.FP16, "com.microsoft"),
    ]
    assert precisions_by_operator(nodes) == [
        {"operator": "MatMul", "fp16": 1, "fp32": 1},
        {"operator": "Softmax", "fp16": 0, "fp32": 1},
        {"operator": "com.microsoft::Gelu", "fp16": 1, "fp32": 0},
    ]


def test_links_lead_to_pages_where_the_store_has_any():
    assert links(RunRef("http://mlflow:5050/", "3", "ab"), "models:/resnet-fp16/2") == {
        "mlflow-run": "http://mlflow:5050/#/experiments/3/runs/ab?workflowType=machine_learning",
        "registered-version": "http://mlflow:5050/#/models/resnet-fp16/versions/2?workflowType=machine_learning",
    }
    assert links(RunRef("sqlite:///mlflow.db", "3", "ab"), None) == {}


@pytest.mark.parametrize(
    ("name", "key"),
    [("resnet-fp16", "resnet-fp16"), ("Team A/ResNet_50 (v2)", "team-a-resnet-50-v2"), ("模型", "model")],
)
def test_a_key_of_artifacts_says_the_model_as_prefect_writes_keys(name, key):
    from prefect.client.schemas.actions import ArtifactCreate

    assert artifact_key(name) == key
    assert ArtifactCreate(key=key).key == key


def test_the_summary_holds_the_metrics_that_people_ask_for():
    text = summary_text("Converted 3/4 nodes", {"fidelity/rel_l2": 0.00125, "model/bytes_after": 1.0}, "m", None)
    assert "# Converted 3/4 nodes" in text
    assert "| fidelity/rel_l2 | 0.00125 |" in text
    assert "bytes_after" not in text
