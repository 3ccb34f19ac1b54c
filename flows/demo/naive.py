"""What a naive FP16 conversion makes of a model: every node low, whatever its values."""

from __future__ import annotations

from pathlib import Path


def naive_top1(model: Path, evaluation: Path) -> float:
    """Top-1 accuracy on the labelled data at `evaluation` of `model` with every node that may be low in FP16.

    Measured in simulation (FP32 accumulation, 16-bit storage), as no CPU computes FP16 models in FP16.
    """
    from contextlib import closing

    from autocast_core.apply import apply_plan
    from autocast_core.calibrate import Statistics
    from autocast_core.config import ConversionConfig
    from autocast_core.data import input_specs, open_batches
    from autocast_core.decide import decide
    from autocast_core.errors import DataError
    from autocast_core.evaluate import evaluate
    from autocast_core.model import load_model
    from autocast_core.pipeline.convert import open_runtime
    from autocast_core.sanitize import sanitize
    from autocast_core.simulate import simulate

    inf = float("inf")
    config = ConversionConfig(data_max=inf, init_max=inf, small_values=False, clamp_masks=False)
    source = load_model(model)
    sanitized = sanitize(source, config).model
    plan = decide(sanitized, Statistics(), {}, config)
    simulated = simulate(apply_plan(sanitized, plan).model)
    runtime = open_runtime(config)
    batches = open_batches(evaluation, input_specs(source), batch_size=50)
    with closing(runtime.open(source)) as reference, closing(runtime.open(simulated, exact=True)) as candidate:
        task = evaluate(reference, candidate, batches).task
    if task is None:
        raise DataError(f"{evaluation}: has no labels")
    return task.candidate_top1
