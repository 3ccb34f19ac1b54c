"""Where this machine keeps what was fetched or worked out, for later runs."""

from __future__ import annotations

import os
from pathlib import Path

CACHE = "AUTOCAST_CACHE"


def default_cache_folder() -> Path:
    """$AUTOCAST_CACHE, else autocast in $XDG_CACHE_HOME, else ~/.cache/autocast (XDG Base Directory Specification)."""
    if chosen := os.environ.get(CACHE):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "autocast"
