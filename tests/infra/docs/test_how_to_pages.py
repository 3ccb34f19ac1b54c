"""The how-to pages, each followed in a copy of the repository."""

import shutil
import subprocess

import pytest

from tests.infra.docs.pages import DOCS, ROOT, SCRIPTS, follow, pages

HOW_TO = [page for page in pages() if page.parent == DOCS / "how-to"]
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


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.stem)
def test_a_worked_example_works_in_a_copy_of_the_repository(copy, page):
    follow(page, copy, PYTHONPATH=str(copy))
    for words in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [SCRIPTS / "ruff", *words, "--no-cache", "."], cwd=copy, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"{page.name}: ruff {words[0]}\n{done.stdout}\n{done.stderr}"
