"""Sanitize: the source as the graph that plans speak of."""

from __future__ import annotations

import logging

from autocast_core.pipeline.artifacts import LoadedSource, SanitizedSource
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.repaired import repaired_interface
from autocast_core.pipeline.stage import Stage
from autocast_core.sanitize import sanitize_in_place

LOG = logging.getLogger(__name__)


def sanitize(job: Job, source: LoadedSource) -> SanitizedSource:
    """The source after all sanitize passes, which change its model in place. Raises as the passes do."""
    done = sanitize_in_place(source.model, job.config)
    changes = (*source.changes, *done.changes)
    warnings = (*(change.detail for change in source.changes), *done.warnings)
    for warning in warnings:
        LOG.warning("%s", warning)
    interface = repaired_interface(source.interface, changes)
    return SanitizedSource(done.model, interface, changes, warnings)


SANITIZE = Stage("sanitize", sanitize, (LoadedSource,), SanitizedSource)
