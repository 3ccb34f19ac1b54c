"""Stage: verify the converted model."""

from __future__ import annotations

from pathlib import Path

from prefect import task

from autocast_core.config import ConversionConfig
from autocast_core.model.reference import ModelRef
from tasks.isolation import isolated


def verify_model(source: ModelRef, converted: ModelRef, plan: Path, config: ConversionConfig) -> bool:
    """Checks the converted model in full, its inputs and outputs against the source's, and that it loads.

    VerificationError or UnconvertibleError names the node and the remedy.
    """
    from autocast_core.model import load_model
    from autocast_core.pipeline.convert import open_runtime, verify_converted
    from autocast_core.plan import read_plan
    from autocast_core.verify import model_interface

    original = load_model(source)
    interface, runtime = model_interface(original), open_runtime(config)
    verify_converted(load_model(converted), interface, read_plan(plan), runtime, lambda: original)
    return True


def check_valid(model: ModelRef) -> bool:
    """ModelError where the model is not valid ONNX."""
    from autocast_core.verify import load_checked

    load_checked(model)
    return True


is_valid = isolated(check_valid, bool)
verify_task = task(name="verify", persist_result=True)(isolated(verify_model, bool))
