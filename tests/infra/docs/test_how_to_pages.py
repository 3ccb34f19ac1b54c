"""The how-to pages, each followed in a copy of the repository.

Their changes are always made; their commands take a minute, so that all but one page's run with `-m pages`, as in CI.
"""

import shutil

import pytest

from tests.infra.docs.pages import DOCS, ROOT, blocks, edit, follow, pages, run

HOW_TO = [page for page in pages() if page.parent == DOCS / "how-to"]
LINTERS = ("ruff check --no-cache .", "ruff format --no-cache --check .", "lint-imports --no-cache")
SAMPLE = "add-a-backend"
COPIED = ("autocast_core", "tasks", "flows", "tests", "infra", "pyproject.toml", "README.md")


@pytest.fixture
def copy(tmp_path):
    """The repository's working tree, without what is generated."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "dist", ".*"))
        else:
            shutil.copy(source, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.stem)
def test_the_changes_of_a_page_apply_and_pass_the_linters(copy, page):
    for block in blocks(page):
        if block.title:
            edit(block, copy)
    for command in LINTERS:
        done = run(f"uv run {command}", copy, PYTHONPATH=str(copy))
        assert done.returncode == 0, f"{page.name}: {command}\n{done.stdout}\n{done.stderr}"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=page.stem, marks=() if page.stem == SAMPLE else pytest.mark.pages) for page in HOW_TO],
)
def test_the_commands_of_a_page_succeed_in_a_copy_of_the_repository(copy, page):
    follow(page, copy, PYTHONPATH=str(copy))
