"""The files with which flows are deployed: those of the checkout's infra/, or the copies that an installation has."""

from __future__ import annotations

from pathlib import Path

from autocast_core.errors import ConfigError

_INSTALLED = Path(__file__).parent
_CHECKOUT = _INSTALLED.parents[1] / "infra"


def deployment_file(name: str) -> Path:
    """``prefect.yaml`` or ``automations.yaml``. ConfigError where this installation has neither."""
    for folder in (_CHECKOUT, _INSTALLED):
        if (folder / name).is_file():
            return folder / name
    raise ConfigError(f"{name} is not part of this installation: install AutoCast Flow again, or run its checkout")
