"""What happens at once: promotions, homes, users, a run that is stopped meanwhile; and tags that somebody forged."""

import multiprocessing
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from autocast_core.errors import AutocastError, OutputError
from tests.faults.test_kills import check_published, check_registered, command, variables
from tests.flows.conversions import batches, client, convert, mlp, runs_of, working_in
from tests.flows.proof.key_files import key_files

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults-kills"), pytest.mark.timeout(1000)]


@pytest.fixture(scope="module")
def pair(services, tmp_path_factory):
    """Two signed versions of one registered model; the folder with the keys."""
    folder = tmp_path_factory.mktemp("pair")
    with working_in(folder) as patch:
        patch.setenv("AUTOCAST_SIGNING_KEY", str(key_files(folder)[0]))
        data = batches(folder / "c.npz").name
        for seed in (50, 51):
            mlp(folder / "net.onnx", seed)
            convert("net.onnx", calibration=data, name="pair")
        yield folder


def test_promotions_at_once_leave_the_alias_on_one_version(pair, workplace, used, trial, nightly):
    from flows.local.home import home
    from flows.review.promotion import promote

    rounds = 20 if nightly else 3
    for number in range(rounds):
        with ThreadPoolExecutor(4) as pool:
            asked = [f"models:/pair/{1 + each % 2}" for each in range(4)]
            done = list(pool.map(lambda uri, alias=f"race{number}": promote(uri, alias, home()), asked))
        assert [each.model for each in done] == asked
        assert client().get_model_version_by_alias("pair", f"race{number}").version in ("1", "2")
    trial("promotions at once", 4 * rounds, "the alias is on one of the versions; nobody is refused")


def _forge(version, name, where):
    """Sets a tag to another value; returns what sets it back."""
    tags = version.tags if where == "version" else client().get_run(version.run_id).data.tags

    def put(value):
        if where == "version":
            client().set_model_version_tag("pair", version.version, name, value)
        else:
            client().set_tag(version.run_id, name, value)

    put("0" * 64 if "sha256" in name or "identity" in name else "forged")
    return lambda: put(tags[name])


def test_forged_tags_are_neither_verified_nor_promoted(pair, workplace, used, trial, monkeypatch, nightly):
    """Each of our tags on the version and on its run: a service that trusts a key promotes none; `verify` without a key
    finds those that the chain of digests is made of."""
    from flows.local.home import home
    from flows.proof.proof import BrokenProofError
    from flows.review.promotion import promote
    from flows.review.verification import BrokenChainError, verify_version

    monkeypatch.chdir(pair)
    monkeypatch.setenv("AUTOCAST_TRUSTED_KEY", str(pair / "public.pem"))
    version = client().get_model_version("pair", "2")
    of_run = client().get_run(version.run_id).data.tags
    forged = [("version", name) for name in sorted(version.tags) if name.startswith("autocast.")]
    forged += [("run", name) for name in sorted(of_run) if name.startswith("autocast.")]
    chain = {f"autocast.{name}" for name in ("output_sha256", "source_sha256", "identity", "precision", "gate")}
    tried = forged if nightly else [("version", "autocast.gate"), ("run", "autocast.output_sha256")]
    assert set(tried) <= set(forged)
    for where, name in tried:
        take_back = _forge(version, name, where)
        try:
            with pytest.raises(BrokenProofError, match=name):
                promote("models:/pair/2", "forged", home())
            if where == "version" and name in chain:
                with pytest.raises((BrokenChainError, AutocastError)) as caught:
                    verify_version("models:/pair/2", home())
                assert caught.value.exit_code in (2, 3) and "\n" not in str(caught.value)
        finally:
            take_back()
    assert "forged" not in client().get_registered_model("pair").aliases
    assert promote("models:/pair/2", "true", home()).alias == "true"
    trial("forged tags: promote, verify", len(tried), "each refused in one line; the true version is promoted")


def _as_user(user, home, answers):
    """What the home folder is to another user."""
    os.setgid(user)
    os.setuid(user)
    from flows.local.home import Home
    from flows.local.own_files import check_home, make_work_folder

    try:
        check_home(Home(home))
        make_work_folder(Home(home), "5d3fa2f0-0000-4000-8000-000000000000")
        answers.put("used")
    except OutputError as error:
        answers.put(str(error))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be two users")
@pytest.mark.parametrize("owner", [60_001, 0], ids=["another user's", "root's"])
def test_one_home_is_not_used_by_two_users(trial, owner):
    """Below /var/tmp, which all may enter: pytest's own folder is root's alone."""
    import tempfile

    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        home = Path(folder, "home")
        home.mkdir()
        os.chown(home, owner, owner)
        answers = context.Queue()
        process = context.Process(target=_as_user, args=(60_002, home, answers))
        process.start()
        said = answers.get(timeout=60)
        process.join(60)
        assert list(home.iterdir()) == []
    assert "AUTOCAST_HOME" in said and "\n" not in said
    trial("one home, two users", 1, said.replace(folder, ""))


def test_two_homes_at_once_make_one_version(workplace, trial, named, nightly):
    """Two users of one tracking server and one Prefect, with one request."""
    if not nightly:
        pytest.skip("with --nightly")
    name = named("homes")
    model, data, output = mlp(workplace / f"{name}.onnx"), batches(workplace / "data.npz"), workplace / "out"
    never = command("never", model, data, output)
    both = [
        subprocess.Popen(never, env=variables(AUTOCAST_HOME=str(workplace / each)), stderr=subprocess.PIPE, text=True)
        for each in ("one", "two")
    ]
    ends = [(each.communicate(timeout=300)[1][-2000:], each.returncode) for each in both]
    assert [code for _, code in ends] == [0, 0], ends
    assert len(check_registered(f"{name}-fp16")) == 1
    assert check_published(output) == ["model.onnx", "plan.json"]
    assert [each.info.status for each in runs_of(model)] == ["FINISHED"]
    trial("two homes at once", 2, "one version, one run, one output")


def test_a_run_that_is_stopped_beyond_its_lease_and_goes_on_makes_no_second_version(workplace, trial, named, nightly):
    """STOP before it publishes, the lock's lease over meanwhile; another run does the work; CONT."""
    if not nightly:
        pytest.skip("with --nightly")
    name = named("stopped")
    model, data, output = mlp(workplace / f"{name}.onnx"), batches(workplace / "data.npz"), workplace / "out"
    stopped = subprocess.Popen(command("stop publish", model, data, output), env=variables(), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while Path(f"/proc/{stopped.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < deadline and stopped.poll() is None
        time.sleep(0.2)
    other = subprocess.run(
        command("never", model, data, output), env=variables(), capture_output=True, text=True, timeout=300
    )
    assert other.returncode == 0, other.stderr[-2000:]
    stopped.send_signal(signal.SIGCONT)
    assert stopped.wait(300) == 0
    assert check_published(output) == ["model.onnx", "plan.json"]
    assert len(check_registered(f"{name}-fp16")) == 1
    assert "RUNNING" not in [each.info.status for each in runs_of(model)]
    trial("STOP and CONT in the middle of a run", 1, "one version, whole, by the run that went on meanwhile")
