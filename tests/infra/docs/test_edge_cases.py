"""Numbers in docstrings of tests refer to the lists in edge-cases.md."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.infra.docs.pages import DOCS, ROOT

PAGE = (DOCS / "edge-cases.md").read_text(encoding="utf-8")
NUMBERS = r"((?:\d+(?: to |, | and )?)+)"
KINDS = {
    "edge case": ("## The 78 edge cases", r"^(\d+)\. ", rf"[Ee]dge cases? {NUMBERS}"),
    "AutoCast defect": ("## AutoCast defects", r"^\| (\d+) \|", rf"AutoCast defects? {NUMBERS}"),
    "failure on real models": ("## Failures on real models", r"^\| (\d+) \|", rf"failures? {NUMBERS} on real models"),
}


def docstrings() -> Iterator[str]:
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                text = ast.get_docstring(node)
                if text:
                    yield text


def section(heading: str) -> str:
    return PAGE.partition(heading)[2].partition("\n## ")[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_number_that_a_test_refers_to_is_in_the_list(kind):
    heading, entry, reference = KINDS[kind]
    listed = {int(number) for number in re.findall(entry, section(heading), re.MULTILINE)}
    texts = [found for text in docstrings() for found in re.findall(reference, text)]
    referred = {int(number) for text in texts for number in re.findall(r"\d+", text)}
    assert referred
    assert referred <= listed


def test_every_edge_case_has_a_test():
    found = " ".join(docstrings())
    referred = set()
    for text in re.findall(KINDS["edge case"][2], found):
        numbers = [int(number) for number in re.findall(r"\d+", text)]
        referred |= set(range(numbers[0], numbers[1] + 1)) if " to " in text else set(numbers)
    assert referred >= set(range(1, 79))


def test_no_docstring_is_only_a_number():
    assert [text for text in docstrings() if re.fullmatch(r"[\d, ()]+", text)] == []
