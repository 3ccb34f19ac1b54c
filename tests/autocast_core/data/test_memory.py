"""How much memory is free, by every limit that a system may set."""

import resource
from pathlib import Path

import pytest

from autocast_core.data import memory
from autocast_core.process import memory_limits

MIB = 1 << 20


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system without limits, with 100 MiB of available memory."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable: {100 * 1024} kB\n")
    (tmp_path / "proc/self/status").write_text(f"VmSize: {30 * 1024} kB\nVmData: {20 * 1024} kB\n")
    monkeypatch.setattr(memory, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(memory_limits, "_STATUS", tmp_path / "proc/self/status")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY,) * 2)
    return tmp_path


def write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


def test_without_limits_it_is_what_the_system_has(system: Path) -> None:
    assert memory.available_bytes() == 100 * MIB
    (system / "proc/meminfo").unlink()
    assert memory.available_bytes() is None


def test_a_control_group_of_version_2_leaves_less(system: Path) -> None:
    group = {
        "memory__max": 50 * MIB,
        "memory__current": 20 * MIB,
        "memory__stat": f"active_file {2 * MIB}\ninactive_file {3 * MIB}",
    }
    write(system / "cgroup", **group)
    assert memory.available_bytes() == 35 * MIB
    write(system / "cgroup", memory__max="max")
    assert memory.available_bytes() == 100 * MIB


@pytest.mark.parametrize("folder", ["own/group", ""])
def test_a_control_group_of_version_1_leaves_less(system: Path, folder: str) -> None:
    (system / "proc/self/cgroup").write_text("4:cpu,memory:/own/group\n0::/\n")
    write(
        system / "cgroup/memory" / folder,
        memory__limit_in_bytes=50 * MIB,
        memory__usage_in_bytes=20 * MIB,
        memory__stat=f"total_active_file {2 * MIB}\ntotal_inactive_file {3 * MIB}",
    )
    assert memory.available_bytes() == 35 * MIB


@pytest.mark.parametrize(("kind", "used"), [(resource.RLIMIT_DATA, 20), (resource.RLIMIT_AS, 30)])
def test_limits_of_the_process_leave_less(system: Path, kind: int, used: int, monkeypatch: pytest.MonkeyPatch) -> None:
    unlimited = (resource.RLIM_INFINITY,) * 2
    monkeypatch.setattr(resource, "getrlimit", lambda each: (60 * MIB, 60 * MIB) if each == kind else unlimited)
    assert memory.available_bytes() == (60 - used) * MIB
    monkeypatch.setattr(resource, "getrlimit", lambda each: (1, 1) if each == kind else unlimited)
    assert memory.available_bytes() == 0
