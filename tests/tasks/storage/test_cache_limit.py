"""The cache stays below its limit and loses nothing that is in use."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from autocast_core.errors import ConfigError
from tasks.storage.cache import Cache, CachedFile
from tasks.storage.cache_limit import cache_in_use, limit_from_environment, prune

DAY = 86400.0


@pytest.fixture
def cache(tmp_path):
    return Cache.open(tmp_path / "cache")


def fill(cache, name, size, days_ago, kind="models"):
    """A set of files that was last used so many days ago."""
    folder = cache.root / kind / name
    folder.mkdir()
    (folder / "model.onnx").write_bytes(bytes(size))
    cache.remember(f"reference-{name}", CachedFile(folder / "model.onnx", "0" * 64))
    used = time.time() - days_ago * DAY
    os.utime(cache.root / "references" / f"reference-{name}", (used, used))
    return folder


def test_what_was_not_used_for_the_longest_time_goes_first_and_no_more_than_needed(cache):
    old, older, new = fill(cache, "b", 100, 3), fill(cache, "a", 100, 5, "data"), fill(cache, "c", 100, 1)
    assert prune(cache, 250) == (older,)
    assert prune(cache, 250) == ()
    assert (old.is_dir(), older.exists(), new.is_dir()) == (True, False, True)
    assert cache.recall("reference-a") is None
    assert list((cache.root / "parts").iterdir()) == []


def test_using_a_file_makes_it_the_last_to_go(cache):
    first, second = fill(cache, "a", 100, 5), fill(cache, "b", 100, 3)
    assert cache.recall("reference-a").path.parent == first
    assert prune(cache, 150) == (second,)


def test_a_cache_that_may_only_be_read_is_used_all_the_same(cache, monkeypatch):
    folder = fill(cache, "a", 100, 5)

    def refused(*_):
        raise PermissionError

    monkeypatch.setattr("tasks.storage.cache.os.utime", refused)
    assert cache.recall("reference-a").path.parent == folder


@contextmanager
def run_since(cache, days_ago):
    """Another process that uses the cache, since so many days by its clock."""
    script = (
        "import os, sys, time; from pathlib import Path; from tasks.storage.cache_limit import cache_in_use\n"
        "with cache_in_use(Path(sys.argv[1]), 1 << 30):\n"
        "    mark, = Path(sys.argv[1], 'users').iterdir(); began = time.time() - float(sys.argv[2]) * 86400\n"
        "    os.utime(mark, (began, began)); print('running', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(cache.root), str(days_ago)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout.readline() == "running\n"
        yield
        run.kill()


def test_what_was_used_since_the_oldest_run_began_stays(cache):
    used, unused = fill(cache, "a", 100, 2), fill(cache, "b", 100, 6)
    with run_since(cache, 4):
        assert prune(cache, 1) == (unused,)
    assert prune(cache, 1) == (used,)
    assert list((cache.root / "users").iterdir()) == []


def test_a_clock_that_is_set_takes_nothing_from_a_run(cache):
    """Set forward by ten days, a transfer of the run looks abandoned; set back, the run begins in the future."""
    used, part = fill(cache, "a", 100, 9), cache.root / "parts" / "x.8.partial"
    for began in (10, -10):
        with run_since(cache, began):
            part.write_bytes(b"1")
            os.utime(part, (time.time() - 9 * DAY,) * 2)
            assert prune(cache, 1) == ()
            assert used.is_dir() and part.exists()
    assert prune(cache, 1) == (used,)
    assert not part.exists()


def test_what_was_used_within_the_hour_stays_beyond_the_limit(cache):
    fill(cache, "a", 100, 0.01)
    assert prune(cache, 1) == ()


def test_a_run_makes_room_before_it_begins_and_leaves_no_mark(cache):
    old = fill(cache, "a", 100, 5)
    with cache_in_use(cache.root, 10):
        assert not old.exists()
        assert len(list((cache.root / "users").iterdir())) == 1
    assert list((cache.root / "users").iterdir()) == []


def test_transfers_that_nobody_went_on_with_for_a_week_go(cache):
    parts = cache.root / "parts"
    for name, days in (("x.8.partial", 8), ("x.8.done", 8), ("y.8.partial", 2)):
        (parts / name).write_bytes(b"1")
        os.utime(parts / name, (time.time() - days * DAY,) * 2)
    prune(cache, 1 << 30)
    assert [path.name for path in parts.iterdir()] == ["y.8.partial"]


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5"])
def test_a_limit_that_is_no_number_of_bytes_is_named(text):
    with pytest.raises(ConfigError, match="AUTOCAST_CACHE_BYTES"):
        limit_from_environment({"AUTOCAST_CACHE_BYTES": text})


def test_the_limit_is_what_is_set_or_64_gib():
    assert limit_from_environment({"AUTOCAST_CACHE_BYTES": "5"}) == 5
    assert limit_from_environment({}) == 64 << 30
