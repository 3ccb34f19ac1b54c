"""The option --all-cases and the line that sums the conversions up."""

from __future__ import annotations

import pytest

from tests.conformance.outcomes import summary

OUTCOME = "conformance"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-cases", action="store_true", help="run all of ONNX's operator cases, not every fourth of each operator"
    )


@pytest.fixture
def every(request: pytest.FixtureRequest) -> int:
    """Which of an operator's cases to run: every such one."""
    return 1 if request.config.getoption("--all-cases", default=False) else 4


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, ())]
    texts = [text for report in reports for name, text in report.user_properties if name == OUTCOME]
    if texts:
        terminalreporter.section("conformance")
        terminalreporter.line(summary(texts))
