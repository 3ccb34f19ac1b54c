"""The runbooks, as far as that can be seen without servers; tests/integration/test_runbooks.py follows them."""

import ast
import re
import subprocess

import pytest

from tests.infra.docs.pages import ROOT, RUNBOOKS, blocks

PAGES = sorted(RUNBOOKS.glob("*.md"))


def followed():
    """The parts of pages that the integration tests follow: page and heading, of whole pages an empty one."""
    source = (ROOT / "tests" / "integration" / "test_runbooks.py").read_text(encoding="utf-8")
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    mine = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "steps"]
    return {tuple(ast.literal_eval(one) for one in call.args) for call in mine}


def parts_with_steps(page):
    """The headings of a page under which there is something to do."""
    parts = re.split(r"^#{2,3} ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {part.partition("\n")[0] for part in parts if "\n```" in part}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_step_of_a_runbook_is_taken_by_a_test(page):
    known = followed()
    if (page.stem,) not in known:
        assert {(page.stem, heading) for heading in parts_with_steps(page)} <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_steps_are_what_a_shell_and_python_can_read(page):
    for block in blocks(page):
        if block.language == "python":
            ast.parse(block.text)
        else:
            assert block.language == "sh"
            assert subprocess.run(["bash", "-n", "-c", block.text], capture_output=True).returncode == 0, block.text
