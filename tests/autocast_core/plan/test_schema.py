"""The published schema against plans as they are written."""

import json

import jsonschema
import pytest

from autocast_core import ConversionConfig, convert_file, tune_file
from autocast_core.errors import PlanError
from autocast_core.plan import PLAN_FORMAT, PrecisionPlan
from autocast_core.plan.schema import plan_schema
from tests.autocast_core.search.planted import planted_model
from tests.flows.conversions import batches, mlp


def validate(plan):
    jsonschema.validate(plan, plan_schema(), jsonschema.Draft202012Validator)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A plan as a conversion writes it."""
    folder = tmp_path_factory.mktemp("plan")
    config = ConversionConfig(nodes_to_exclude=("second",), keep_io_types=("x",))
    data = batches(folder / "d.npz")
    return json.loads(
        convert_file(mlp(folder / "m.onnx"), folder / "low.onnx", config, calibration=data).plan.to_json()
    )


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(plan_schema())


def test_a_conversions_plan_is_as_the_schema_says(written):
    validate(written)


def test_a_searchs_plan_is_as_the_schema_says(tmp_path):
    import onnx

    proto, data = planted_model()
    onnx.save(proto, tmp_path / "m.onnx")
    found = tune_file(tmp_path / "m.onnx", data, ["sqnr_db>=50"], ConversionConfig(batch_size=8))
    plan = json.loads(found.plan.to_json())
    validate(plan)
    shares = [row["share"] for row in plan["data"]["attribution"]]
    assert shares == sorted(shares, reverse=True) != []


@pytest.mark.parametrize(
    "wrong",
    [
        {"format": PLAN_FORMAT + 1},
        {"precision": "fp8"},
        {"precision": "fp32"},
        {"nodes": [{"id": "a"}]},
        {"colour": "blue"},
        {"settings": {"data_max": 1}},
        {"settings": {"keep_io_types": "x"}},
        {"structure_digest": "x"},
        {"data": {"attribution": [{"id": "a"}]}},
    ],
    ids=str,
)
def test_the_schema_and_the_reader_refuse_the_same(written, wrong):
    with pytest.raises(jsonschema.ValidationError):
        validate({**written, **wrong})
    with pytest.raises(PlanError):
        PrecisionPlan.from_json(json.dumps({**written, **wrong}))
