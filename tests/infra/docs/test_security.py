"""The threat model names the test that holds each control."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_every_test_that_the_threat_model_names_exists():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "infra/docs/security.md").read_text(encoding="utf-8")))
    written = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 40
    assert named - set(re.findall(r"def (test_\w+)\(", written)) == set()
