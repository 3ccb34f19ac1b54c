"""Where the servers of this user lie when no folder is given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def default_folder(environment: Mapping[str, str]) -> Path:
    """``autocast/stack`` below ``$XDG_DATA_HOME``, else below ``~/.local/share``: the same from every folder."""
    base = Path(environment.get("XDG_DATA_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".local" / "share") / "autocast" / "stack"
