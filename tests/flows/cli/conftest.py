"""The command line as a call."""

import json
import sys
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        def refuse(constant):
            raise AssertionError(f"{constant} in JSON")

        lines = self.out.splitlines()
        assert len(lines) == 1
        return json.loads(lines[0], parse_constant=refuse)

    @property
    def errors(self):
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


@pytest.fixture
def autocast(monkeypatch, capfd):
    """`autocast("run", …)` runs the command in this process."""
    from flows.cli import main

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["autocast", *map(str, arguments)])
        capfd.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        out, err = capfd.readouterr()
        return Ended(code, out, err)

    return call
