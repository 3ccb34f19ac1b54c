"""The documentation as a site: it builds without a warning, and its links lead somewhere."""

import re
import shutil
import subprocess
import sys

import pytest

from tests.infra.docs.pages import CONTRIBUTING, DOCS, README, ROOT, SITE, pages

OUTSIDE = (README, CONTRIBUTING, ROOT / "infra" / "SECURITY.md")
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


@pytest.mark.xdist_group("site")
@pytest.mark.parametrize("link", ["none.md", "index.md#nowhere", "#nowhere"])
def test_the_builder_finds_a_link_that_leads_nowhere(tmp_path, link):
    pytest.importorskip("zensical", reason="zensical builds the site; it is in the dependency group docs")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"# Page\n\nSee [there]({link}).\n")
    (tmp_path / "mkdocs.yml").write_text("site_name: s\ndocs_dir: docs\nsite_dir: dist\nuse_directory_urls: false\n")
    command = [sys.executable, "-m", "zensical", "build", "--strict", "-f", "mkdocs.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert "does not exist" in done.stdout + done.stderr


def test_every_page_is_in_the_navigation():
    assert set(DOCS.rglob("*.md")) == set(pages())


@pytest.mark.parametrize("page", [*OUTSIDE, *pages()], ids=lambda page: page.stem)
def test_links_between_files_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = [target for target, _ in LINK.findall(text) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", OUTSIDE, ids=lambda page: page.stem)
def test_links_from_outside_the_site_lead_to_headings_that_are_there(page):
    from markdown.extensions.toc import slugify

    missing = []
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        if anchor and "://" not in target:
            text = (page.parent / target).read_text(encoding="utf-8")
            headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
            missing += [f"{target}{anchor}"] if anchor[1:] not in {slugify(each, "-") for each in headings} else []
    assert missing == []


def test_images_are_small():
    assert [path for path in (DOCS / "images").iterdir() if path.stat().st_size > 200_000] == []
