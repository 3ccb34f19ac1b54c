"""Waiting for servers that tests start."""

import time
import urllib.request
from collections.abc import Callable
from typing import Any


def answers(address: str) -> bool:
    """Whether `address` answers with 200 within two minutes."""
    for _ in range(600):
        try:
            with urllib.request.urlopen(address, timeout=5) as response:
                return response.status == 200
        except OSError:
            time.sleep(0.2)
    return False


def wait_for(ready: Callable[[], Any], within: float, what: str) -> Any:
    """The first true value of `ready`, asked twice a second; a server that is down just now is asked again."""
    from httpx import HTTPError
    from mlflow.exceptions import MlflowException

    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            value = ready()
        except (HTTPError, MlflowException):
            value = None
        if value:
            return value
        time.sleep(0.5)
    raise AssertionError(f"{what}: not within {within:.0f} s")
