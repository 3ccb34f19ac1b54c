"""The pages for users, followed in the order of the site in one folder.

That takes minutes, so it runs with `-m pages`, as in CI; the README is followed with every suite.
"""

import os

import pytest

from flows.local.embedded_server import IDLE_SECONDS, stop_servers
from flows.local.home import Home
from tests.infra.docs.pages import CONTRIBUTING, DOCS, NOT_RUN, README, RUNBOOKS, commands, follow, pages, why_not
from tests.infra.docs.reader import prepare_reader
from tests.tasks.storage.conftest import s3_endpoint  # noqa: F401 - used as a fixture

pytestmark = pytest.mark.xdist_group("commands")
USAGE = [page for page in pages() if page.parent == DOCS]


@pytest.fixture(scope="module")
def folder(services, s3_endpoint, tmp_path_factory):  # noqa: F811
    """A folder with the files that the pages speak of, and an environment in which their commands run.

    As on a reader's machine, commands keep a Prefect server for one another, and are forks.
    """
    with pytest.MonkeyPatch.context() as patch, prepare_reader(tmp_path_factory.mktemp("docs"), s3_endpoint) as place:
        for name in [name for name in os.environ if name.startswith("PREFECT_") or name == "AUTOCAST_HOME"]:
            patch.delenv(name)
        patch.setenv(IDLE_SECONDS, "120")
        yield place
        stop_servers(Home(place / ".autocast").server)


@pytest.fixture(scope="module")
def done_before():
    """The commands that were run in the folder; another page need not run the same again."""
    return set()


@pytest.mark.pages
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", USAGE, ids=lambda page: page.stem)
def test_a_page_can_be_followed(folder, page, done_before):
    follow(page, folder, done_before)


def every_command():
    """Of all pages but runbooks, whose steps tests/integration/test_runbooks.py takes on real servers."""
    followed = [page for page in pages() if page.parent != RUNBOOKS]
    return [command for page in (README, CONTRIBUTING, *followed) for command in commands(page)]


@pytest.mark.parametrize("listed", NOT_RUN)
def test_what_is_listed_as_not_run_is_in_a_page(listed):
    assert any(NOT_RUN[listed] == why_not(command) for command in every_command())


def test_all_other_commands_are_run():
    assert [command for command in every_command() if why_not(command) is None and command[:7] != "uv run "] == []
