"""Names of metrics: what they say, and what they were while they had dots."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from autocast_core.evaluate.metric_names import (
    FidelityName,
    current_name,
    fidelity_name,
    of_output,
    of_worst_batch,
    of_worst_output,
    of_worst_outputs,
    own_name,
)

PAGE = Path(__file__).parents[3] / "infra/docs/gates-and-metrics.md"


def renamed() -> list[tuple[str, str]]:
    """The pairs of the page's table of names."""
    lines = PAGE.read_text(encoding="utf-8").split("| before | now |\n|---|---|\n")[1].split("\n\n")[0].splitlines()
    pairs = []
    for line in lines:
        before, now = (re.findall(r"`([^`]+)`", cell) for cell in line.strip("|").split("|"))
        pairs += zip(before, now, strict=True)
    return pairs


@pytest.mark.parametrize(("before", "now"), renamed())
def test_a_dotted_name_has_the_new_name_that_the_page_says(before: str, now: str) -> None:
    assert current_name(before) == now


@pytest.mark.parametrize("name", [*(now for _, now in renamed()), "my_metric", "v1.2", "loss.train"])
def test_other_names_stay(name: str) -> None:
    assert current_name(name) == name


def test_a_name_says_whose_metric_of_what_it_is() -> None:
    assert fidelity_name(of_worst_output("rel_l2")) == FidelityName("fidelity", "", False, "rel_l2")
    assert fidelity_name(of_worst_batch("rel_l2")) == FidelityName("fidelity", "", True, "rel_l2")
    name = of_output("worst_batch", "sqnr_db", "tensorrt/fidelity", worst_batch=True)
    assert fidelity_name(name) == FidelityName("tensorrt/fidelity", "worst_batch", True, "sqnr_db")
    assert fidelity_name("task/top1") is None


def test_the_worst_output_is_told_from_its_folders() -> None:
    names = (of_worst_output("rel_l2"), of_worst_batch("rel_l2"), of_output("y", "rel_l2"))
    assert of_worst_outputs(dict.fromkeys(names, 1.0)) == {"fidelity/rel_l2": 1.0}


def test_the_only_output_is_the_worst() -> None:
    assert own_name("y:0", "rel_l2", {"y:0": "y_0"}) == "fidelity/rel_l2"
    assert own_name("y:0", "rel_l2", {"y:0": "y_0", "z": "z"}) == "fidelity/outputs/y_0/rel_l2"
    assert own_name("y:0", "rel_l2", {"y:0": "y_0"}, worst_batch=True) == "fidelity/worst_batch/rel_l2"
