"""The pages for users, followed in the order of the site in one folder."""

import pytest

from tests.flows.conftest import services  # noqa: F401 - used as a fixture
from tests.infra.docs.pages import CONTRIBUTING, DOCS, NOT_RUN, README, commands, follow, pages, why_not
from tests.infra.docs.reader import prepare_reader
from tests.tasks.storage.conftest import s3_endpoint  # noqa: F401 - used as a fixture

pytestmark = pytest.mark.xdist_group("prefect")
USAGE = [page for page in pages() if page.parent == DOCS]


@pytest.fixture(scope="module")
def folder(services, s3_endpoint, tmp_path_factory):  # noqa: F811
    """A folder with the files that the pages speak of, and an environment in which their commands run."""
    with prepare_reader(tmp_path_factory.mktemp("docs"), s3_endpoint) as place:
        yield place


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", USAGE, ids=lambda page: page.stem)
def test_a_page_can_be_followed(folder, page):
    follow(page, folder)


def test_what_is_not_run_is_in_the_pages():
    every = [command for page in (README, CONTRIBUTING, *pages()) for command in commands(page)]
    unused = [start for start in NOT_RUN if not any(command.startswith(start) for command in every)]
    assert unused == []


def test_commands_that_are_not_run_begin_with_a_listed_reason():
    every = [command for page in (README, *pages()) for command in commands(page)]
    assert [command for command in every if why_not(command) is None and not command.startswith("uv run ")] == []
