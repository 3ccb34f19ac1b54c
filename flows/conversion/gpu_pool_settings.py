"""Where validation on a GPU runs, as the operator's settings say.

AUTOCAST_GPU_DEPLOYMENT names the deployment (validate-on-tensorrt/validate-on-tensorrt), AUTOCAST_STAGING the folder or
s3:// prefix, readable from both pools, that holds a model meanwhile, and AUTOCAST_GPU_WAIT_SECONDS how long a
conversion waits for the answer (3600).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from autocast_core.errors import ConfigError

DEPLOYMENT = "AUTOCAST_GPU_DEPLOYMENT"
STAGING = "AUTOCAST_STAGING"
WAIT = "AUTOCAST_GPU_WAIT_SECONDS"


@dataclass(frozen=True)
class GpuPool:
    """Where validation runs; a wait in seconds."""

    deployment: str
    staging: str | None
    wait: float = 3600.0


def gpu_pool(environment: Mapping[str, str] = os.environ) -> GpuPool | None:
    """The pool that the operator configured; None: there is none. ConfigError where a setting is wrong."""
    deployment = environment.get(DEPLOYMENT)
    if not deployment:
        return None
    text = environment.get(WAIT) or "3600"
    try:
        wait = float(text)
    except ValueError:
        wait = 0.0
    if not 0 < wait < 1e9:
        raise ConfigError(f"{WAIT} is {text!r}: give a positive number of seconds")
    return GpuPool(deployment, environment.get(STAGING) or None, wait)
