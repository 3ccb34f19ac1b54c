"""What makes two requests the same conversion."""

from __future__ import annotations

import json
from hashlib import sha256


def identity(source: str, calibration: str | None, evaluation: str | None, spec: str, engine: str) -> str:
    """sha256 over the digests of model and data, the canonical spec and the engine version."""
    return sha256(json.dumps([source, calibration, evaluation, spec, engine]).encode()).hexdigest()
