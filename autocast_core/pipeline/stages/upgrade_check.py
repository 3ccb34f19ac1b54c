"""Whether an opset upgrade kept what the model computes; part of the stages that have data at hand."""

from __future__ import annotations

import logging

from autocast_core.data import Batches
from autocast_core.errors import BackendError, UnconvertibleError
from autocast_core.pipeline.artifacts import SanitizedSource
from autocast_core.pipeline.job import Job
from autocast_core.sanitize.change import opset_rewrote_nodes

LOG = logging.getLogger(__name__)

UPGRADE_TOLERANCE = 1e-3
"""Largest relative L2 between a model's outputs before and after an upgrade of its opset."""


def check_upgrade(job: Job, sanitized: SanitizedSource, batches: Batches | None) -> None:
    """Compare the outputs before and after, where raising the opset had nodes rewritten and there are `batches`.

    UnconvertibleError where they differ by more than UPGRADE_TOLERANCE. Where the runtime cannot run one of the two
    models, a warning says that the upgrade was not checked.
    """
    if not opset_rewrote_nodes(sanitized.changes) or batches is None:
        return
    from autocast_core.evaluate import compare

    try:
        before = job.runtime.open(job.reference(), few_runs=True, batches=batches)
        after = job.runtime.open(sanitized.model, few_runs=True, batches=batches)
        worst = compare(before, after, batches).worst.rel_l2
    except BackendError as error:
        LOG.warning("the opset upgrade could not be checked numerically: %s", error)
        return
    if worst > UPGRADE_TOLERANCE:
        opset = sanitized.model.opset_imports.get("")
        raise UnconvertibleError(
            f"the upgrade to opset {opset} changes the outputs (relative L2 {worst:.2e}); export the model at that "
            f"opset, or give --opset with the model's own"
        )
