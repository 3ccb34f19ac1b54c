"""What a conversion shows in Prefect's UI: a summary, a table of precisions by operator type, links."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autocast_core.evaluate.metric_names import of_worst_outputs
from autocast_core.pipeline.cache import artifact_cache
from tasks.progress import SilentListener, listening
from tasks.tracking.pages import page, run_path, version_page
from tasks.tracking.runs import RunRef

if TYPE_CHECKING:
    from autocast_core.plan import NodeDecision

LOG = logging.getLogger(__name__)
_SHOWN = ("task/", "nodes/")
STAGES = 10
"""Stages of a conversion, from fetch to publish."""


def precisions_by_operator(nodes: Iterable[NodeDecision]) -> list[dict[str, Any]]:
    """One row per operator type, the most frequent first: how many nodes have which precision."""
    counts: dict[str, Counter[str]] = {}
    for node in nodes:
        counts.setdefault(f"{node.domain}::{node.op_type}" if node.domain else node.op_type, Counter())[
            str(node.precision.value)
        ] += 1
    columns = sorted({precision for counter in counts.values() for precision in counter})
    ordered = sorted(counts.items(), key=lambda item: (-item[1].total(), item[0]))
    return [{"operator": name, **{column: counter[column] for column in columns}} for name, counter in ordered]


def summary_text(summary: str, metrics: Mapping[str, float], registered: str | None, output: str | None) -> str:
    """The summary as Markdown."""
    shown = of_worst_outputs(metrics) | {name: metrics[name] for name in metrics if name.startswith(_SHOWN)}
    rows = sorted(shown.items())
    table = "".join(f"| {name} | {value:.6g} |\n" for name, value in rows)
    return f"# {summary}\n\nRegistered: `{registered}`\n\nOutput: `{output}`\n\n| metric | value |\n|---|---|\n{table}"


def show_conversion(run: RunRef, name: str, plan: Path, text: str, registered: str | None) -> None:
    """Creates the artifacts of this flow run, whose keys end with the registered `name`: Prefect shows the last of each
    key. Where the server rejects them, that is logged and the run continues."""
    from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

    model = artifact_key(name)
    try:
        create_markdown_artifact(text, key=f"conversion-{model}", description="What was converted, and how well")
        rows = precisions_by_operator(artifact_cache().plan(plan).nodes)
        create_table_artifact(rows, key=f"precisions-{model}", description="Nodes by operator type and precision")
        for key, link in links(run, registered).items():
            create_link_artifact(link, key=f"{key}-{model}")
    except Exception as error:
        LOG.warning("the artifacts of run %s were not kept: %s", run.run_id, type(error).__name__)


def artifact_key(name: str) -> str:
    """`name` as Prefect's keys are written: lower-case letters, digits and single dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "model"


def links(run: RunRef, registered: str | None) -> dict[str, str]:
    """Pages of MLflow's UI by artifact key; none where the store is a database and has no pages."""
    run_page = page(run.tracking_uri, run_path(run))
    if run_page is None:
        return {}
    found = {"mlflow-run": run_page}
    if registered:
        found["registered-version"] = str(version_page(run.tracking_uri, registered))
    return found


@contextmanager
def stages_shown() -> Iterator[None]:
    """Meanwhile a progress artifact of this flow run says how many stages are done."""
    with listening(_StagesShown()):
        yield


class _StagesShown(SilentListener):
    def __init__(self) -> None:
        self._artifact: Any = None
        self._done: set[str] = set()

    def end(self, stage: str, seconds: float, failed: bool) -> None:
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        if failed:
            return
        self._done.add(stage)
        progress = min(100.0, 100.0 * len(self._done) / STAGES)
        try:
            if self._artifact is None:
                self._artifact = create_progress_artifact(progress, key="stages", description="Stages that are done")
            else:
                update_progress_artifact(self._artifact, progress)
        except Exception as error:
            LOG.warning("progress was not shown: %s", type(error).__name__)
