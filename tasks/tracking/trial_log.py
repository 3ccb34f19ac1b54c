"""A search's trials in MLflow: a step each in the run's metrics, which its chart shows, and a nested run each."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from autocast_core.evaluate.metric_names import TASK, of_worst_outputs
from tasks.tracking.runs import RunRef
from tasks.tracking.store import tracking_errors

TRIAL_TAG = "autocast.trial"
_LISTED = 100


def log_trial(
    run: RunRef, number: int, kept: Sequence[str], metrics: Mapping[str, float], error: str | None = None
) -> None:
    """Records trial `number` of the search in `run`: the nodes it kept in FP32 and what it measured.

    `run` gets metrics ``trial/*`` at step `number`; the nested run the same ones by their own names, and what was kept.
    """
    from mlflow.entities import Metric, RunTag

    now = int(time.time() * 1000)
    shown = {"nodes/fp32": float(len(kept))}
    shown |= of_worst_outputs(metrics)
    shown |= {name: value for name, value in metrics.items() if name.startswith(f"{TASK}/")}
    with tracking_errors(run.tracking_uri):
        client = run.client()
        steps = {"trial/fp32": shown["nodes/fp32"]}
        steps |= {f"trial/{name}": value for name, value in shown.items() if name != "nodes/fp32"}
        client.log_batch(run.run_id, metrics=[Metric(name, value, now, number) for name, value in steps.items()])
        nested = client.create_run(
            run.experiment_id,
            run_name=f"trial {number}",
            tags={"mlflow.parentRunId": run.run_id, TRIAL_TAG: str(number)},
        ).info.run_id
        tags = [RunTag("autocast.kept_fp32", _listed(kept))]
        if error is not None:
            tags.append(RunTag("autocast.failure", error[:1000]))
        client.log_batch(nested, metrics=[Metric(name, value, now, 0) for name, value in shown.items()], tags=tags)
        client.set_terminated(nested, "FINISHED" if error is None else "FAILED")


def _listed(kept: Sequence[str]) -> str:
    """The kept nodes as one tag's text, cut where MLflow would refuse it."""
    text = ", ".join(kept[:_LISTED])
    rest = f" … and {len(kept) - _LISTED:,} more" if len(kept) > _LISTED else ""
    return (text if len(text) <= 4000 else text[:4000] + "…") + rest or "none"
