"""A metric function of the user's own."""

import logging

import numpy as np
import pytest

from autocast_core.errors import ConfigError
from autocast_core.search import TaskMetric, load_metric
from tests.autocast_core.search.planted import SENSITIVE, names, searched


def closeness(outputs, labels):
    assert outputs["y"].shape == (24, 8) and labels.shape == (24,)
    return float(np.nan_to_num(1.0 / (1.0 + np.abs(outputs["y"] - CENTRE).mean())))


CENTRE = 0.25


def test_a_budget_on_the_metric_is_met(planted):
    found = searched(*planted, "task_metric_ratio>=0.999", "no_new_nonfinite", metric=TaskMetric("m:f", closeness))
    assert found.metrics["task/metric_ratio"] >= 0.999
    assert found.metrics["task/metric_ratio"] == found.metrics["task/metric"] / found.metrics["task/metric_fp32"]
    assert names(found.kept_fp32) <= SENSITIVE


def test_a_metric_that_raises_is_the_users_fault_with_its_traceback_in_the_log(planted, caplog):
    def broken(outputs, labels):
        return outputs["logits"]

    with caplog.at_level(logging.ERROR), pytest.raises(ConfigError, match=r"m:f raises KeyError: 'logits'") as caught:
        searched(*planted, "task_metric_ratio>=0.999", metric=TaskMetric("m:f", broken))
    assert "\n" not in str(caught.value)
    assert "Traceback" in caplog.text and "in broken" in caplog.text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("accuracy", "give module:function"),
        ("no_such_module_here:f", "cannot be imported: ModuleNotFoundError"),
        ("math:no_such_function", "cannot be imported: AttributeError"),
        ("math:pi", "is not a function"),
    ],
)
def test_a_name_without_a_function_is_refused(name, message):
    with pytest.raises(ConfigError, match=message):
        load_metric(name)


def test_a_module_in_the_current_folder_is_found(tmp_path, monkeypatch):
    (tmp_path / "my_task_metric.py").write_text("def score(outputs, labels):\n    return 1\n")
    monkeypatch.chdir(tmp_path)
    assert load_metric("my_task_metric:score")({}, None) == 1.0
