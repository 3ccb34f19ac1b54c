"""The documentation as a site: it builds without a warning, and its links lead somewhere."""

import re
import shutil
import subprocess
import sys

import pytest

from tests.infra.docs.pages import CONTRIBUTING, DOCS, README, ROOT, SITE, pages

LINK = re.compile(r"(?<!`)\[[^\]]+\]\(([^)#\s]+)(#[^)\s]*)?\)")


@pytest.mark.xdist_group("site")
def test_the_site_builds_without_broken_links(tmp_path):
    pytest.importorskip("zensical", reason="zensical builds the site; it is in the dependency group docs")
    shutil.copytree(DOCS, tmp_path / "docs")
    shutil.copy(SITE, tmp_path / "mkdocs.yml")
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict", "-f", "mkdocs.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    built = {path.stem for path in (tmp_path / "dist" / "docs").rglob("*.html")}
    assert {page.stem for page in pages()} <= built


def test_every_page_is_in_the_navigation():
    assert set(DOCS.rglob("*.md")) == set(pages())


@pytest.mark.parametrize(
    "page", [README, CONTRIBUTING, ROOT / "infra" / "SECURITY.md", *pages()], ids=lambda page: page.stem
)
def test_links_between_files_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = [target for target, _ in LINK.findall(text) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_images_are_small():
    assert [path for path in (DOCS / "images").iterdir() if path.stat().st_size > 200_000] == []
