"""A diagnosis as one self-contained HTML page."""

from __future__ import annotations

from autocast_core.diagnose.result import Diagnosis
from autocast_core.report.pages.report_page import environment
from autocast_core.report.text import number

_LISTED = 2000


def diagnosis_page(diagnosis: Diagnosis, reference: str, candidate: str) -> str:
    """The page; `reference` and `candidate` are what the models are called. At most 2,000 tensors are listed."""
    return str(
        environment()
        .get_template("diagnosis.html.j2")
        .render(
            diagnosis=diagnosis,
            reference=reference,
            candidate=candidate,
            tensors=diagnosis.tensors[:_LISTED],
            hidden=max(0, len(diagnosis.tensors) - _LISTED),
            number=number,
        )
    )
