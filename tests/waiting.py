"""Waiting for servers that tests start."""

import time
import urllib.request


def answers(address: str) -> bool:
    """Whether `address` answers with 200 within two minutes."""
    for _ in range(600):
        try:
            with urllib.request.urlopen(address, timeout=5) as response:
                return response.status == 200
        except OSError:
            time.sleep(0.2)
    return False
