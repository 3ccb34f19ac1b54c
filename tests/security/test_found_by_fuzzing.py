"""What fuzzing has found, by name: each file ends in one of our errors, or is read."""

import json

import pytest

from autocast_core.errors import AutocastError
from tasks.isolation import ProcessLimits, StageBugError, StageDiedError, isolated, isolation
from tests.security import readers
from tests.security.found_models import MODELS

pytestmark = [pytest.mark.security, pytest.mark.xdist_group("fuzzing")]


@pytest.fixture(scope="module")
def limited():
    with isolation(ProcessLimits(memory_bytes=1 << 30, stage_seconds=30.0, file_bytes=64 << 20)):
        yield


@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_fuzzing_found(limited, name, trial):
    try:
        said = isolated(readers.model, str)(MODELS[name]())
    except (StageBugError, StageDiedError):
        raise
    except AutocastError as error:
        assert error.exit_code == 2
        said = str(error)
        assert said.isprintable() and len(said) < 2000
    trial("models that fuzzing found", 1, said)


def test_a_plan_whose_precision_is_no_low_one():
    text = readers.a_plan().replace('"precision": "fp16"', '"precision": "none"')
    with pytest.raises(AutocastError, match=r'precision: expected fp16 or bf16 or \["fp16", "bf16"\], got none'):
        readers.plan(text)


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"keep_io_types": -1}, "keep_io_types"),
        ({"keep_io_types": [1]}, r"keep_io_types\[0\]"),
        ({"init_conversion_max_bytes": "many"}, "init_conversion_max_bytes"),
        ({"operands_to_exclude": {"Relu": {"inputs": ["a"]}}}, r"operands_to_exclude\[\.\.\.\]\[\.\.\.\]\[0\]"),
        ({"operands_to_exclude": 5}, "operands_to_exclude"),
        ({"operands_to_exclude": {"Relu": {"inp": [-7]}}}, r"operands_to_exclude\[\.\.\.\]\[\.\.\.\]\[0\]"),
        ({"plugin_precisions": {"Op": [["fp8"], []]}}, r"plugin_precisions\[\.\.\.\]\[0\]\[0\]"),
        ({"plugin_precisions": {"Op": "fp16"}}, r"plugin_precisions\[\.\.\.\]"),
    ],
    ids=str,
)
def test_settings_of_a_plan_of_another_kind(settings, place):
    text = json.dumps(json.loads(readers.a_plan()) | {"settings": settings})
    with pytest.raises(AutocastError, match=rf"settings\.{place}: (expected|invalid)"):
        readers.plan(text)


def test_a_plan_with_a_node_of_the_other_low_precision():
    plan = json.loads(readers.a_plan())
    plan["nodes"][1]["precision"] = "bf16"
    with pytest.raises(AutocastError, match=r"node graph/.* is bf16 in a plan of fp16: give fp16 or fp32"):
        readers.plan(json.dumps(plan))


@pytest.mark.parametrize("text", ["file://[", "~nobody-of-this-name/a", "\ud800", "file:///%00"])
def test_a_location(text):
    with pytest.raises(AutocastError, match="location"):
        readers.location(text)


def test_a_tag_of_nested_objects():
    assert "Skipped" in readers.tags({"autocast.spec": '{"a":' * 1600})
