"""What the experiment and the registered models say of themselves in MLflow's UI."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

NOTE_TAG = "mlflow.note.content"
"""MLflow's own tag for the description of an experiment and of a run, Markdown."""
EXPERIMENT_TAGS: Mapping[str, str] = MappingProxyType(
    {
        NOTE_TAG: (
            "Conversions of ONNX models to mixed precision: choose 'Model training' at the top left, then Runs.\n\n"
            "A run passed its gates where its tag `autocast.gate` says so; what passed is in the model registry, alias"
            " `candidate`. To approve a version, set its tag `autocast.approve` to an alias, such as `champion`."
        ),
        # Without it the UI asks whoever opens the experiment what it is for.
        "mlflow.experimentKind": "custom_model_development",
    }
)
"""Of an experiment that AutoCast Flow makes."""


@dataclass(frozen=True)
class ModelDescription:
    """What a registered model says when it is made: Markdown, and tags."""

    text: str
    tags: Mapping[str, str]


def described_model(source: str, precision: str) -> ModelDescription:
    """The description of the registered model that holds the conversions of `source` (Markdown) to `precision`."""
    text = (
        f"Conversions of {source} to {precision}, made by AutoCast Flow. The alias `candidate` is the last version that"
        " passed its gates.\n\nTo approve a version, open it and set its tag `autocast.approve` to an alias, such as"
        " `champion`: files and gates are checked again, and the answer is written on the version."
    )
    return ModelDescription(text, {"autocast.converted_to": precision})
