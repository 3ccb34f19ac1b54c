"""What two processes must have in common for a fork of the one to do what the other was started for."""

from __future__ import annotations

import json
import os
import resource
import socket
import sys
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

_READ_ONCE = (
    *("PREFECT_", "MLFLOW_", "AUTOCAST_", "PYTHON", "LD_", "DYLD_", "OTEL_", "ORT_", "CUDA_", "NVIDIA_"),
    *("OMP_", "OPENBLAS_", "MKL_", "BLIS_", "NUMEXPR_", "MALLOC_", "MPL", "XDG_C", "XDG_DATA", "LC_", "LANG", "TZ"),
    *("HOME", "USER", "LOGNAME", "VIRTUAL_ENV", "SSL_", "REQUESTS_", "GIT_PYTHON_", "DO_NOT_TRACK"),
)
"""How variables begin that are read when Python starts or a package is imported; a fork gets all others anew."""
_OF_THIS_SERVER = ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING")
_ROOT = Path(__file__).resolve().parents[3]
_PACKAGES = ("autocast_core", "tasks", "flows")
_PRIVILEGES = ("Uid", "Gid", "Groups", "NoNewPrivs", "Seccomp", "CapEff", "CapBnd")
"""Lines of /proc/self/status (proc_pid_status(5))."""


def process_key(environment: Mapping[str, str]) -> str:
    """Equal for two processes where a fork of one can do what the other was started for."""
    read = {
        name: value
        for name, value in environment.items()
        if name.startswith(_READ_ONCE) and name not in _OF_THIS_SERVER
    }
    limits = {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")}
    python = sys.executable, sys.version, sys.flags.optimize, sys.flags.utf8_mode, sys.flags.dev_mode, sys.warnoptions
    found = [socket.gethostname(), python, read, limits, list(_attributes())]
    return sha256(json.dumps([*found, *_state_of_code()], sort_keys=True, default=str).encode()).hexdigest()[:16]


def _attributes() -> Iterator[object]:
    """What a child has of its parent: niceness, processors, and on Linux privileges, namespaces and control group."""
    yield os.getpriority(os.PRIO_PROCESS, 0)
    root = Path("/").stat()
    yield root.st_dev, root.st_ino
    if sys.platform == "linux":
        yield sorted(os.sched_getaffinity(0))
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        yield [line for line in lines if line.startswith(_PRIVILEGES)]
        # A child's own PID namespace may differ from its parent's, and both are in this folder.
        yield sorted(str(each.readlink()) for each in Path("/proc/self/ns").iterdir())
        yield Path("/proc/self/cgroup").read_text(encoding="utf-8")


def _state_of_code() -> Iterator[object]:
    """When this project's files and the installed packages last changed."""
    newest, count = 0, 0
    for package in _PACKAGES:
        for folder, folders, files in os.walk(_ROOT / package):
            folders[:] = [name for name in folders if name != "__pycache__"]
            for name in files:
                newest, count = max(newest, Path(folder, name).stat().st_mtime_ns), count + 1
    yield newest, count
    yield [Path(place).stat().st_mtime_ns for place in sys.path if place.endswith("-packages")]
