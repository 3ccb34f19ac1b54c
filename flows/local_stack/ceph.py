"""Ceph's S3 gateway from Debian's packages: one monitor, one object store in memory, one gateway, on loopback.

Objects live as long as the processes: a stopped cluster is made anew at the next start.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from autocast_core.errors import ServiceError
from flows.local_stack.processes import Process, accepts, answers, is_running

NEEDED = ("ceph", "ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "monmaptool", "ceph-authtool")

_SETTINGS = """\
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{monitor},v1:127.0.0.1:{monitor_v1}]
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
auth allow insecure global id reclaim = true
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd objectstore = memstore
osd data = {folder}/osd
memstore device bytes = 2147483648
mon data = {folder}/mon
mon data avail crit = 1
mon allow pool size one = true
mon warn on pool no redundancy = false
mon max pg per osd = 1000
osd prime pg temp = false
paxos propose interval = 0.05
paxos min wait = 0.01
public addr = 127.0.0.1
cluster addr = 127.0.0.1
run dir = {folder}/run
admin socket =
log file =
log to stderr = true
err to stderr = true
keyring = {folder}/keyring
rgw frontends = beast endpoint=127.0.0.1:{gateway}
rgw enable usage log = false
rgw dns name =
rgw s3 auth use sts = true
rgw sts key = {session_key}
"""


def processes(folder: Path, ports: dict[str, int], access_key: str, secret_key: str) -> Iterator[Process]:
    """The three processes in the order in which they must come up; each may be waited for before the next is taken."""
    home = folder / "ceph"
    settings = home / "ceph.conf"
    if not all(is_running(folder, name) for name in ("ceph-mon", "ceph-osd", "ceph-rgw")):
        _make_cluster(home, settings, ports)
    yield Process(
        "ceph-mon",
        ["ceph-mon", "-f", "-c", str(settings), "-i", "a"],
        is_ready=lambda: accepts(ports["ceph-mon"]),
    )
    if not is_running(folder, "ceph-osd"):
        _make_store(home, settings)
    yield Process(
        "ceph-osd",
        ["ceph-osd", "-f", "-c", str(settings), "-i", "0", "--keyring", str(home / "osd" / "keyring")],
        is_ready=lambda: '"up"' in _ceph(home, settings, "osd", "tree", "up", "--format", "json"),
    )
    if not is_running(folder, "ceph-rgw"):
        _make_user(settings, access_key, secret_key)
    yield Process(
        "ceph-rgw",
        ["radosgw", "-f", "-c", str(settings), "-n", "client.admin", "--rgw-data", str(home / "rgw")],
        is_ready=lambda: answers(f"http://127.0.0.1:{ports['s3']}/"),
    )


def _make_cluster(home: Path, settings: Path, ports: dict[str, int]) -> None:
    shutil.rmtree(home, ignore_errors=True)
    for name in ("mon", "osd", "rgw", "run"):
        (home / name).mkdir(parents=True)
    fsid, keys, monmap = str(uuid.uuid4()), str(home / "keyring"), str(home / "monmap")
    monitor, monitor_v1 = ports["ceph-mon"], ports["ceph-mon-v1"]
    places = {"folder": home, "monitor": monitor, "monitor_v1": monitor_v1, "gateway": ports["s3"]}
    settings.touch(mode=0o600)
    # The key is one of AES-128: the gateway encrypts in it what its session tokens say.
    settings.write_text(_SETTINGS.format(fsid=fsid, session_key=secrets.token_hex(8), **places), encoding="utf-8")
    _run("ceph-authtool", "--create-keyring", keys, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
    everything = [item for part in ("mon", "osd", "mgr") for item in ("--cap", part, "allow *")]
    _run("ceph-authtool", keys, "--gen-key", "-n", "client.admin", *everything)
    address = f"[v2:127.0.0.1:{monitor},v1:127.0.0.1:{monitor_v1}]"
    _run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, "--set-min-mon-release", "pacific", monmap)
    _run("ceph-mon", "-c", str(settings), "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keys)


def _make_store(home: Path, settings: Path) -> None:
    store, keyring = str(uuid.uuid4()), str(home / "osd" / "keyring")
    _ceph(home, settings, "osd", "new", store)
    rights = ("mon", "allow profile osd", "osd", "allow *")
    _ceph(home, settings, "auth", "get-or-create", "osd.0", *rights, "-o", keyring)
    _run("ceph-osd", "-c", str(settings), "-i", "0", "--mkfs", "--osd-uuid", store, "--keyring", keyring)
    _ceph(home, settings, "osd", "crush", "add", "osd.0", "1", "root=default", "host=h")


def _make_user(settings: Path, access_key: str, secret_key: str) -> None:
    keys = ("--access-key", access_key, "--secret-key", secret_key)
    command = (
        "radosgw-admin",
        "-c",
        str(settings),
        "user",
        "create",
        "--uid",
        "autocast",
        "--display-name",
        "autocast",
    )
    for _ in range(5):
        if subprocess.run([*command, *keys], capture_output=True, text=True, timeout=120).returncode == 0:
            return
        time.sleep(1)
    _run(*command, *keys)


def _ceph(home: Path, settings: Path, *arguments: str) -> str:
    return _run("ceph", "-c", str(settings), "--keyring", str(home / "keyring"), "--connect-timeout", "30", *arguments)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise ServiceError(f"{' '.join(command[:6])} ...: {done.stderr.strip()[-2000:]}")
    return done.stdout
