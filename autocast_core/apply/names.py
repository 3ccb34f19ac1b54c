"""Names for what a conversion adds: unique over the model, the same at every run."""

from __future__ import annotations

from collections.abc import Iterable


class UniqueNames:
    """Hands out names that the model does not use yet."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)

    def make(self, wanted: str) -> str:
        """`wanted`, or with the first number that makes it unique."""
        name, number = wanted, 0
        while name in self._taken:
            number += 1
            name = f"{wanted}_{number}"
        self._taken.add(name)
        return name
