"""Stage: what TensorRT says to the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task

from autocast_core.config import ConversionConfig
from autocast_core.engine.validation import Validation
from autocast_core.model.reference import ModelRef
from tasks.isolation import isolated
from tasks.progress import report

if TYPE_CHECKING:
    from autocast_core.data import Batches

_DEFAULT = ConversionConfig()
VALIDATION_FILE = "tensorrt/validation.json"
"""The whole validation among the artifacts of a run of validate-on-tensorrt, for whoever asked for it."""


def validate_model(
    model: Path,
    wish: str = "if_available",
    reference: ModelRef | None = None,
    plan: Path | None = None,
    data: Path | None = None,
    config: ConversionConfig = _DEFAULT,
    engine: Path | None = None,
) -> Validation:
    """Parses and builds the model at `model` where TensorRT (or TensorRT for RTX) is installed; on a GPU also runs it
    beside the FP32 `reference`, on `data` or seeded random data.

    `wish` is the spec's ``validation``; ``off`` skips, as does a machine without TensorRT, with the reason. Types are
    compared with `plan` where it is given. Shapes of dynamic inputs are those of the config's profiles, else of the
    data. `engine` is a file to write the engine to. DataError where the data does not fit the model.
    """
    if wish == "off":
        return Validation(skipped=("validation is off",))
    from autocast_core.backends.tensorrt import validate as tensorrt
    from autocast_core.backends.tensorrt.execution import EngineTrial
    from autocast_core.model import load_model
    from autocast_core.plan import read_plan
    from autocast_core.targets.fitting import engine_options

    batches = _batches(reference or ModelRef(model, ""), data, config)
    options = engine_options(load_model(model), config, batches if data is not None else None)
    return tensorrt.validate_model(
        model,
        read_plan(plan) if plan is not None else None,
        options,
        trial=EngineTrial(reference.path, batches, progress=report) if reference is not None else None,
        engine=engine,
    )


def _batches(model: ModelRef, data: Path | None, config: ConversionConfig) -> Batches:
    from autocast_core.model import load_model
    from autocast_core.pipeline.convert import data_batches

    return data_batches(load_model(model), config, data)


def artifacts(found: Validation) -> tuple[dict[str, str], dict[str, dict[str, list[Any]]]]:
    """What a run keeps of a validation: texts and tables by artifact path; nothing where no engine looked."""
    texts, tables = {}, {}
    if found.log:
        texts["tensorrt/build.log"] = "\n".join(found.log) + "\n"
    if found.layers:
        tables["tensorrt/layers.json"] = {
            "node": [each.node for each in found.layers],
            "operator": [each.op for each in found.layers],
            "layer": [each.layer for each in found.layers],
            "types": [", ".join(each.types) for each in found.layers],
            "expected": [", ".join(each.expected) for each in found.layers],
        }
    if found.execution is not None and found.execution.layers:
        layers = found.execution.layers
        tables["tensorrt/engine_layers.json"] = {
            "layer": [each.name for each in layers],
            "kind": [each.kind for each in layers],
            "nodes": [", ".join(each.nodes) for each in layers],
            "reads": [", ".join(each.reads) for each in layers],
            "writes": [", ".join(each.writes) for each in layers],
        }
    return texts, tables


validate_task = task(name="validate", persist_result=True)(isolated(validate_model, Validation))
