"""Stage: diagnose any two forms of a model, in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autocast_core.model.reference import ModelRef
from autocast_core.pipeline.saved import JobRequest
from tasks.isolation import isolated
from tasks.progress import report


@dataclass(frozen=True)
class DiagnosisFound:
    """A diagnosis as it leaves the process: by the keys of its JSON; as a page where that was asked for; the model
    that was converted anew, with what its diagnosis says in a sentence; and the ``folder`` of the reproduction, or the
    ``reason`` why there is none."""

    values: dict[str, Any]
    page: str | None = None
    fixed: Path | None = None
    fixed_sentence: str | None = None
    reproduction: dict[str, str | None] | None = None


def diagnose_pair(
    request: JobRequest,
    candidate: ModelRef,
    mapped: Mapping[str, str],
    tolerance_db: float | None,
    html: bool,
    fix: Path | None,
    reproduce: Path | None = None,
) -> DiagnosisFound:
    """The diagnosis of `candidate` against the request's source; see autocast_core.pipeline.stages.diagnose."""
    from autocast_core.pipeline.stages.diagnose import convert_without, diagnose_candidate, reproduce_culprit
    from autocast_core.report.pages.diagnosis_page import diagnosis_page

    job = request.job(report)
    found = diagnose_candidate(job, candidate, mapped, tolerance_db)
    page = diagnosis_page(found, request.source.path.name, candidate.path.name) if html else None
    reproduction = None if reproduce is None else reproduce_culprit(job, candidate, found, reproduce)
    if fix is None or not found.diverges:
        return DiagnosisFound(found.to_json(), page, reproduction=reproduction)
    from autocast_core.file_digest import file_digest

    written = convert_without(job, found.culprits, candidate, fix)
    again = diagnose_candidate(job, ModelRef(written, file_digest(written)), {}, tolerance_db)
    return DiagnosisFound(found.to_json(), page, written, again.sentence(), reproduction)


diagnose_isolated = isolated(diagnose_pair, DiagnosisFound)
