"""The threat model names the tests that hold it: every sentence on an input has one, and each of them exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "infra/docs/security.md").read_text(encoding="utf-8")
_INPUTS = PAGE.partition("## Who is trusted with what\n")[2].partition("\n## ")[0]
INPUTS = {part.partition("\n")[0]: part.partition("\n")[2].strip() for part in _INPUTS.split("\n### ")[1:]}


def test_every_test_that_the_threat_model_names_exists():
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    written = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 90
    assert named - set(re.findall(r"def (test_\w+)\(", written)) == set()


def test_every_input_is_there():
    assert [name.partition(" ")[0] for name in INPUTS] == [
        *("Model", "Calibration", "Plan,", "Tags", "Webhooks", "Storage", "The", "Whoever", "Agents")
    ]


@pytest.mark.parametrize("name", INPUTS)
def test_an_input_says_who_is_trusted_and_each_sentence_after_that_has_a_test_beside_it(name):
    trust, *sentences = INPUTS[name].split("\n- ")
    assert "trusted with" in trust.lower()
    assert trust.strip().count("\n\n") == 0
    assert sentences
    for sentence in (" ".join(each.split()) for each in sentences):
        text, _, tests = sentence.partition(": `test_")
        assert re.fullmatch(r"\w+`(, `test_\w+`)*\.", tests), sentence
        # One sentence: what ends in a full stop could stand without a test.
        assert not re.search(r"\. ", text), sentence
