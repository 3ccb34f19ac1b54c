"""testing.md names the tests of each fault of operation, and each of them exists."""

import re

from tests.infra.docs.pages import DOCS, ROOT

ROW = re.compile(r"^\| (\d+) \|([^|]+)\|([^|]+)\|$", re.MULTILINE)


def test_every_fault_of_operation_has_tests_that_exist():
    rows = ROW.findall((DOCS / "testing.md").read_text(encoding="utf-8"))
    assert [int(number) for number, _, _ in rows] == list(range(1, 16))
    written = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = [re.findall(r"`(test_\w+)`", tests) for _, _, tests in rows]
    assert all(named)
    assert {name for names in named for name in names} - set(re.findall(r"def (test_\w+)\(", written)) == set()
