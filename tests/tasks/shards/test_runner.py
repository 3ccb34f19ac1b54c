"""Which runners there are, and what is said of one that cannot be used, before anything else runs."""

import socket

import pytest

from autocast_core.errors import ConfigError
from tasks.shards import worker_versions
from tasks.shards.runner import LocalRunner, check_runner, opened_runner
from tasks.shards.worker_versions import check_versions, own_versions, version_reader


def ten_times(piece, threads):
    return 10 * piece, threads


def test_the_local_runner_gives_results_in_the_order_of_the_work():
    with opened_runner() as runner:
        assert list(runner.map(ten_times, [3, 1, 2])) == [(30, None), (10, None), (20, None)]
    assert list(LocalRunner(2).map(ten_times, range(5))) == [(10 * number, None) for number in range(5)]


@pytest.mark.parametrize("name", ["spark", "dask=", "local=4", "ray=", ""])
def test_an_unknown_runner_is_refused_with_those_that_there_are(name):
    with pytest.raises(ConfigError, match="give local, dask, dask=ADDRESS, ray or ray=ADDRESS"):
        check_runner(name)


def test_a_runner_whose_extra_is_missing_says_what_to_install(monkeypatch):
    monkeypatch.setattr("tasks.shards.runner.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"runner ray is not installed: pip install 'autocast-flow\[ray\]'"):
        check_runner("ray")


def test_a_worker_reads_its_versions_itself_and_equal_ones_pass():
    found = version_reader()()
    assert found == own_versions()
    check_versions("dask=tcp://here:1", {"tcp://worker:1": found})


@pytest.mark.parametrize(
    ("package", "theirs", "message"),
    [("onnxruntime", "1.0", "has onnxruntime 1.0, this process onnxruntime"), ("onnx", None, "has no onnx, this")],
)
def test_a_worker_of_another_version_is_named_with_the_remedy(package, theirs, message):
    versions = {**own_versions(), package: theirs}
    if theirs is None:
        del versions[package]
    with pytest.raises(ConfigError, match=message) as caught:
        check_versions("dask=tcp://here:1", {"tcp://good:1": own_versions(), "tcp://other:2": versions})
    assert "worker tcp://other:2" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_versions_of_python_count_without_their_last_number():
    assert worker_versions.own_versions()["Python"].count(".") == 1


def test_a_scheduler_that_does_not_answer_is_one_line_with_the_remedy(monkeypatch):
    dask_runner = pytest.importorskip("tasks.shards.dask_runner", reason="the extra `dask` is not installed")
    monkeypatch.setattr(dask_runner, "_CONNECT_SECONDS", 0.5)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        name = f"dask=tcp://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(ConfigError, match="no Dask scheduler answers there") as caught:
            check_runner(name)
    assert str(caught.value).startswith(f"runner {name}: ")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_the_address_of_something_else_is_one_line_too(monkeypatch):
    dask_runner = pytest.importorskip("tasks.shards.dask_runner", reason="the extra `dask` is not installed")
    monkeypatch.setattr(dask_runner, "_CONNECT_SECONDS", 0.5)
    for address in ("nonsense://x", "tcp://no.such.host.invalid:1"):
        with pytest.raises(ConfigError, match="no Dask scheduler answers there") as caught:
            check_runner(f"dask={address}")
        assert "\n" not in str(caught.value)
