"""Stage: which nodes the converted model's error comes from."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from prefect import task

from autocast_core.config import ConversionConfig
from autocast_core.model.reference import ModelRef
from tasks.isolation import isolated
from tasks.progress import report

if TYPE_CHECKING:
    import numpy as np

    from autocast_core.data import Batches
    from autocast_core.search.attribution import Attribution

LOG = logging.getLogger(__name__)
_MOST_BATCHES = 8
_MOST_BYTES = 1_000_000_000


@dataclass(frozen=True)
class _First:
    """The first batches of `whole`."""

    whole: Batches
    count: int

    @property
    def origin(self) -> Literal["calibration", "random"]:
        return self.whole.origin

    @property
    def digest(self) -> str:
        return self.whole.digest

    @property
    def labels(self) -> np.ndarray | None:
        return None

    def __len__(self) -> int:
        return min(self.count, len(self.whole))

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return islice(iter(self.whole), self.count)


def attribute_errors(
    sanitized: ModelRef, plan: Path, data: Path | None, config: ConversionConfig, folder: Path
) -> Path:
    """Attributes the error of the plan's model to its nodes, on at most eight batches of `data` (random ones without);
    the file below `folder` holds it (Attribution.to_json).

    It explains and decides nothing: where it cannot be had, and for weights over 1 GB, that is what the file says.
    """
    path = folder / "attribution.json"
    path.write_text(json.dumps(_attribution(sanitized, plan, data, config).to_json()), encoding="utf-8")
    return path


def _attribution(sanitized: ModelRef, plan: Path, data: Path | None, config: ConversionConfig) -> Attribution:
    from autocast_core.model import load_model
    from autocast_core.operators import OperandPolicy
    from autocast_core.pipeline.convert import data_batches, open_runtime
    from autocast_core.plan import read_plan
    from autocast_core.search.attribution import Attribution, attribute

    model = load_model(sanitized)
    weights = sum(tensor.nbytes for value in model.graph.initializers.values() if (tensor := value.const_value))
    if weights > _MOST_BYTES:
        return Attribution(skipped=f"{weights / 1e9:.1f} GB of weights, and it needs all of them twice in memory")
    made = read_plan(plan)
    low = {each.id: each.precision for each in made.nodes if each.precision.is_low}
    if not low:
        return Attribution(skipped="no node is lowered")
    batches = data_batches(model, config, data)
    try:
        policy, first = OperandPolicy.of_plan(model, made), _First(batches, _MOST_BATCHES)
        return attribute(model, low, config.precision, policy, first, open_runtime(config), report)
    except Exception as error:
        # A report without this part is better than no conversion.
        LOG.warning("errors are not attributed to nodes: %s", error)
        return Attribution(skipped=f"{type(error).__name__}: {error}")


attribute_task = task(name="attribute", persist_result=True)(isolated(attribute_errors, Path))
