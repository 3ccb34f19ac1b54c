"""How values show themselves in notebooks: by their views in `autocast_core.notebook`, which lie above them.

Notebooks ask a value for its HTML; the plan, far below the report, cannot import what draws it. The view is imported
when a notebook asks, so nothing else pays for it.
"""

from __future__ import annotations

from importlib import import_module


def notebook_html(value: object) -> str:
    """The fragment of HTML with which a notebook shows `value`."""
    return str(import_module("autocast_core.notebook").html_of(value))
