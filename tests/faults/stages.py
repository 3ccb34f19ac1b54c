"""What trials run in the isolated process."""

from pathlib import Path

from autocast_core.model import load_model, save_model
from autocast_core.model.reference import ModelRef


def write_model(model: ModelRef, path: Path) -> None:
    save_model(load_model(model), path)
