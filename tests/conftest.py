"""How the suite is run, and the table of the faults and attacks that were tried."""

import pytest


def pytest_addoption(parser):
    parser.addoption("--nightly", action="store_true", help="faults, fuzzing and load at full size: hours, not minutes")


@pytest.fixture
def nightly(request):
    """Whether trials are made at full size."""
    return request.config.getoption("--nightly")


@pytest.fixture
def trial(record_property):
    """Notes what was tried, how often, what came of it, and how much was lost, for the table at the end."""

    def note(what, times, outcome, lost=0):
        record_property("trial", [what, times, outcome, lost])
        assert lost == 0, f"{what}: {lost} lost"

    return note


def pytest_terminal_summary(terminalreporter):
    """What was done, how often, what came of it, what was lost."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, ())]
    rows = [value for report in reports for key, value in report.user_properties if key == "trial"]
    if not rows:
        return
    terminalreporter.section("tried")
    for what in sorted({row[0] for row in rows}):
        times, lost = (sum(row[i] for row in rows if row[0] == what) for i in (1, 3))
        outcome = next(" ".join(row[2].split()) for row in rows if row[0] == what)
        terminalreporter.write_line(f"{what:<58.58} {times:>6} x  lost {lost}  {outcome:.110}")
    total, lost = (sum(row[i] for row in rows) for i in (1, 3))
    terminalreporter.write_line(f"{total} trials, {lost} lost")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Tests on real servers share one set of them, so they run in one process."""
    if config.option.markexpr == "integration":
        config.option.numprocesses = 0
