"""Limits the rate of deliveries: a token bucket (RFC 2697 calls it a single rate meter)."""

from __future__ import annotations

from flows.bridge.delivery import DeliveryRejectedError


class RateLimit:
    """`per_second` on average, and twice as many at once. Times in seconds."""

    def __init__(self, per_second: float) -> None:
        self._per_second, self._left, self._since = per_second, 2 * per_second, 0.0

    def take(self, now: float) -> None:
        """Counts one delivery. DeliveryRejectedError with status 429 beyond the limit; MLflow delivers again."""
        # A clock that is set back gives nothing.
        passed = max(0.0, now - self._since)
        self._left = min(2 * self._per_second, self._left + passed * self._per_second)
        self._since = now
        if self._left < 1:
            raise DeliveryRejectedError(429, "too_many", f"more than {self._per_second:g} deliveries a second")
        self._left -= 1
