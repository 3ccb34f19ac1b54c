"""The command, the Python functions and the flow are one pipeline: same plan, same bytes, nothing parsed twice."""

from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import pytest

from autocast_core.config import ConversionConfig, Precision
from autocast_core.model import ModelRef, file_digest
from autocast_core.model.protobuf import serde
from autocast_core.pipeline.artifacts import Converted, LoadedSource
from autocast_core.pipeline.cache import shared_artifacts
from autocast_core.pipeline.convert import convert_file, planning_stages
from autocast_core.pipeline.measured import measured_model
from autocast_core.pipeline.saved import JobRequest, SavedModelFiles, perform
from autocast_core.pipeline.stage import Artifacts, run_stages
from autocast_core.pipeline.stages.apply import APPLY
from autocast_core.pipeline.stages.verify import VERIFY
from autocast_core.plan import PrecisionPlan
from tests.autocast_core.pipeline.test_measured import HARMLESS, RUINED, data, near_zero_point
from tests.flows.conversions import batches, convert, mlp
from tests.models import ARCHITECTURES, build

LAYERS = 2
BOTH_PRECISIONS = ("bert_base", "if_loop", "lstm", "mobilenet_v2")
"""Architectures that are converted to BF16 too; the others with -m slow."""
EVERY_MODEL = [
    *(pytest.param(name, Precision.FP16) for name in sorted(ARCHITECTURES)),
    *(pytest.param(name, Precision.BF16) for name in BOTH_PRECISIONS),
    *(
        pytest.param(name, Precision.BF16, marks=pytest.mark.slow)
        for name in sorted({*ARCHITECTURES} - {*BOTH_PRECISIONS})
    ),
]


def through_saved_artifacts(source, folder, config) -> SavedModelFiles:
    """The conversion as tasks make it: every stage takes and leaves files."""
    request = JobRequest(source, config, folder, output="m.onnx")
    stages = (*planning_stages(config), APPLY, VERIFY)
    made = run_stages(
        stages, lambda stage, inputs: perform(stage.name, request, inputs), Artifacts({LoadedSource: source})
    )
    return made.made[Converted]


@pytest.mark.parametrize(("name", "precision"), EVERY_MODEL)
def test_saved_artifacts_lead_to_the_plan_and_the_bytes_of_a_conversion_in_memory(name, precision, tmp_path):
    built = build(name, tmp_path / "source", layers=LAYERS)
    config = ConversionConfig(precision=precision)
    direct = convert_file(built.path, tmp_path / "m.onnx", config)
    source = ModelRef(built.path, file_digest(built.path))
    with shared_artifacts():
        shared = through_saved_artifacts(source, tmp_path / "shared", config)
    # Without a shared cache every stage reads the files of the one before, as after a restart.
    restarted = through_saved_artifacts(source, tmp_path / "restarted", config)
    for other in (shared, restarted):
        assert other.plan.read_text() == direct.plan.to_json()
        assert other.model.path.read_bytes() == direct.output.path.read_bytes()


def test_three_types_travel_between_stages_as_they_are_decided_in_memory(tmp_path):
    built = build("bert_base", tmp_path / "source", layers=LAYERS)
    config = ConversionConfig(precision=Precision.FP16, range_precision=Precision.BF16, data_max=2.0)
    direct = convert_file(built.path, tmp_path / "m.onnx", config)
    assert {"fp16", "bf16", "fp32"} <= {node.precision for node in direct.plan.nodes}
    saved = through_saved_artifacts(ModelRef(built.path, file_digest(built.path)), tmp_path / "saved", config)
    assert saved.plan.read_text() == direct.plan.to_json()
    assert saved.model.path.read_bytes() == direct.output.path.read_bytes()
    again = convert_file(built.path, tmp_path / "again.onnx", plan=PrecisionPlan.from_json(saved.plan.read_text()))
    assert again.output.path.read_bytes() == direct.output.path.read_bytes()


def measured_through_saved_artifacts(source, folder, config, data) -> SavedModelFiles:
    """The conversion as the flow makes it with measured decisions."""
    request = JobRequest(source, config, folder, data, output="m.onnx")

    def tasks(asked):
        return lambda stage, inputs: perform(stage.name, asked, inputs)

    planned = run_stages(planning_stages(config), tasks(request), Artifacts({LoadedSource: source}))
    repaired = tasks(replace(request, folder=folder / "repaired"))
    return measured_model(request, planned, tasks(request), repaired).made[Converted]


@pytest.mark.parametrize("text", [RUINED, HARMLESS], ids=["repaired", "released"])
def test_measured_decisions_are_the_same_in_memory_and_through_saved_artifacts(text, tmp_path):
    onnx.save(onnx.parser.parse_model(text), tmp_path / "source.onnx")
    np.savez(tmp_path / "d.npz", **(data() if text is RUINED else near_zero_point()))
    config = ConversionConfig(decide="measured", batch_size=8)
    direct = convert_file(tmp_path / "source.onnx", tmp_path / "m.onnx", config, calibration=tmp_path / "d.npz")
    source = ModelRef(tmp_path / "source.onnx", file_digest(tmp_path / "source.onnx"))
    with shared_artifacts():
        shared = measured_through_saved_artifacts(source, tmp_path / "shared", config, tmp_path / "d.npz")
    restarted = measured_through_saved_artifacts(source, tmp_path / "restarted", config, tmp_path / "d.npz")
    assert direct.plan.data.repair.kept or direct.plan.data.repair.released
    for other in (shared, restarted):
        assert other.plan.read_text() == direct.plan.to_json()
        assert other.model.path.read_bytes() == direct.output.path.read_bytes()


@pytest.mark.xdist_group("prefect")
def test_one_run_of_the_flow_parses_the_model_four_times_and_the_plan_twice_at_most(workplace, monkeypatch):
    parsed = Counter()
    parse, from_json = serde.parse, PrecisionPlan.from_json

    def counted_parse(data, label):
        parsed["model"] += 1
        return parse(data, label)

    def counted_plan(text):
        parsed["plan"] += 1
        return from_json(text)

    monkeypatch.setattr(serde, "parse", counted_parse)
    monkeypatch.setattr("autocast_core.model.reader.parse", counted_parse)
    monkeypatch.setattr(PrecisionPlan, "from_json", staticmethod(counted_plan))
    model = mlp(workplace / "counted.onnx")
    convert(model, calibration=batches(workplace / "d.npz"), output=workplace / "out")
    assert 1 <= parsed["model"] <= 4
    assert parsed["plan"] <= 2
