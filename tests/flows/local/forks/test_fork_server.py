"""Commands are run by forks of a process that imported everything, as if they had been started themselves."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autocast_core.process.file_lock import try_lock
from flows.local.embedded_server import stop_servers
from flows.local.home import Home
from tests.flows.conversions import batches, mlp
from tests.settings import clean_environment

pytestmark = pytest.mark.xdist_group("embedded server")
AUTOCAST = [sys.executable, "-X", "importtime", "-c", "from flows.cli import main; main()"]
"""Lists on stderr what the process imports that was started, and not what its fork imports."""
FIRST = """
from flows.local.session import flow_session
from tasks.progress import SilentListener
with flow_session(SilentListener()):
    pass
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home folder with a fork server, that a command left; with it ends what it started."""
    where = Home(tmp_path_factory.mktemp("forks") / "home")
    subprocess.run([sys.executable, "-c", FIRST], env=environment(where), check=True)
    yield where
    stop_servers(where.server)
    assert ended(where), "the fork server outlives the embedded server"


def environment(home):
    return {**clean_environment(), "AUTOCAST_HOME": str(home.root), "AUTOCAST_SERVER_IDLE_SECONDS": "60"}


def ended(home):
    """Whether the fork server ends within half a minute: its lock is then free."""
    return eventually(lambda: all(_free(path) for path in home.forks.glob("*.lock")), 30.0)


def eventually(true, seconds=60.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.05)
    return False


def _free(path):
    with open(path, "rb") as alive:
        return try_lock(alive)


def forks(home):
    """The processes that the fork server has forked and that live."""
    (lock,) = home.forks.glob("*.lock")
    for process in Path("/proc").glob("[0-9]*"):
        command = (process / "cmdline").read_bytes().decode().split("\0") if (process / "cmdline").exists() else []
        if "flows.local.forks.fork_server" in command and str(lock.with_suffix(".socket")) in command:
            children = (process / "task" / process.name / "children").read_text().split()
            if children or int((process / "stat").read_text().rpartition(")")[2].split()[1]) == 1:
                return [int(child) for child in children]
    return []


def run(home, *arguments, **options):
    return subprocess.run(
        [*AUTOCAST, "run", *map(str, arguments)], capture_output=True, text=True, env=environment(home), **options
    )


def heed_interrupts():
    """What a shell started in the background ignores interrupts, and so would the command."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(home, model, data):
    """A run under way, whose fork lives."""
    command = [*AUTOCAST, "run", str(model), "--calibration", str(data), "--evaluation", str(data)]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=environment(home), preexec_fn=heed_interrupts
    )
    for line in process.stderr:
        if line.startswith("track"):
            break
    return process


def was_forked(stderr):
    """Whether the process imported nothing of the command itself."""
    return not any(line.endswith(" typer") for line in stderr.splitlines())


def test_a_fork_has_the_folder_the_arguments_and_the_streams_of_the_command(home, tmp_path):
    done = run(home, "missing.onnx", "--json", cwd=tmp_path)
    assert was_forked(done.stderr) and done.returncode == 2
    assert "missing.onnx" in done.stdout and done.stdout.startswith('{"ok": false')


def test_a_fork_converts_as_the_command_would(home, tmp_path):
    model, data = mlp(tmp_path / "forked.onnx"), batches(tmp_path / "data.npz")
    asked = ["--calibration", data, "--evaluation", data, "--output", "converted.onnx", "--json"]
    done = run(home, model, *asked, cwd=tmp_path)
    assert was_forked(done.stderr) and done.returncode == 0, done.stderr
    assert (tmp_path / "converted.onnx").is_file()


@pytest.mark.parametrize("place", ["environment", "settings file"])
def test_a_command_with_other_settings_runs_by_itself(home, tmp_path, place):
    file = tmp_path / "settings.toml"
    file.touch(0o600)
    file.write_text('PREFECT_API_URL = "http://127.0.0.1:9/api"')
    other = {"environment": {"MLFLOW_LOGGING_LEVEL": "ERROR"}, "settings file": {"AUTOCAST_SETTINGS": str(file)}}
    options = {**environment(home), **other[place]}
    done = subprocess.run([*AUTOCAST, "run", "missing.onnx"], capture_output=True, text=True, env=options, cwd=tmp_path)
    assert not was_forked(done.stderr) and done.returncode == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_command_interrupts_its_fork(home, tmp_path, number):
    with start(home, mlp(tmp_path / "stopped.onnx"), batches(tmp_path / "data.npz")) as process:
        process.send_signal(number)
        said = process.stderr.read()
        assert process.wait(60) == 1
        # Of Prefect's own messages none is on the terminal.
        assert [line for line in said.splitlines() if "track" not in line] == ["error: interrupted"]
    assert eventually(lambda: not forks(home))


def test_a_fork_ends_with_a_command_that_is_killed(home, tmp_path):
    with start(home, mlp(tmp_path / "killed.onnx"), batches(tmp_path / "data.npz")) as process:
        assert forks(home)
        process.kill()
    assert eventually(lambda: not forks(home))


def test_a_command_whose_fork_is_killed_ends_so_itself(home, tmp_path):
    with start(home, mlp(tmp_path / "lost.onnx"), batches(tmp_path / "data.npz")) as process:
        for fork in forks(home):
            os.kill(fork, signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL


def test_the_fork_server_has_no_runtime_whose_threads_a_fork_would_lack():
    program = (
        "import sys\nfrom importlib import import_module\nfrom flows.local.forks.fork_server import PRELOADED\n"
        "for name in PRELOADED:\n    import_module(name)\n"
        "print([name for name in ('onnxruntime', 'tensorrt', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=clean_environment())
    assert done.stdout == "[]\n", done.stderr
