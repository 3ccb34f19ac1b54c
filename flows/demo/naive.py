"""What a naive FP16 conversion makes of a model: every node low, whatever its values."""

from __future__ import annotations

from pathlib import Path


def naive_top1(model: Path, evaluation: Path) -> float:
    """Top-1 accuracy on the labelled data at `evaluation` of `model` with every node that may be low in FP16.

    Measured in simulation (FP32 accumulation, 16-bit storage), as no CPU computes FP16 models in FP16. DataError where
    the data has no labels.
    """
    from autocast_core.config import ConversionConfig
    from autocast_core.errors import DataError
    from autocast_core.evaluate.metric_names import SIMULATION
    from autocast_core.pipeline.artifacts import Converted
    from autocast_core.pipeline.convert import convert_in_memory
    from autocast_core.pipeline.job import Job
    from autocast_core.pipeline.stages.evaluate import evaluate_candidate

    no_limit = float("inf")
    config = ConversionConfig(
        data_max=no_limit, init_max=no_limit, small_values=False, clamp_masks=False, batch_size=50
    )
    job = Job(model, config, evaluation=evaluation)
    converted = convert_in_memory(job)[Converted]
    found = evaluate_candidate(job, converted.model, (SIMULATION,)).task.get("task/top1")
    if found is None:
        raise DataError(f"{evaluation}: has no labels")
    return found
