"""The servers without containers, as far as that can be seen without starting any."""

from tests.real_servers import processes, servers


def test_down_stops_whatever_was_started_in_the_folder(tmp_path):
    processes.start(tmp_path, processes.Process("another-worker", ["sleep", "300"], lambda: True))
    assert processes.is_running(tmp_path, "another-worker")
    servers.down(tmp_path, ("bridge",))
    assert processes.is_running(tmp_path, "another-worker")
    servers.down(tmp_path)
    assert processes.names(tmp_path) == ()
