"""Hostile calibration data: archives, pickles, headers and JSON of any shape."""

import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from autocast_core.data import InputSpec, open_batches
from autocast_core.data.readers.part import read_header
from autocast_core.errors import AutocastError, DataError
from tasks.isolation import ProcessLimits, isolated, isolation
from tests.security.hostile_data import MAGIC, Opened, archive, bomb, described, header

pytestmark = [pytest.mark.security, pytest.mark.xdist_group("hostile")]


def read_all(path: str) -> int:
    """How many batches there are, each of them read."""
    return sum(1 for _ in open_batches(path, [InputSpec("x", ir.DataType.FLOAT, ("N", 4))], batch_size=1 << 20))


def refused(path):
    with pytest.raises(DataError) as caught:
        read_all(str(path))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000
    return str(caught.value).replace(str(path), "")


def test_pickles_are_never_opened(tmp_path, trial):
    mark = str(tmp_path / "opened")
    evil = pickle.dumps(np.array([Opened(mark)], dtype=object))
    said = [
        refused(archive(tmp_path / "a.npz", described("|O", "(1,)") + evil)),
        refused(archive(tmp_path / "b.npz", evil)),
        refused(archive(tmp_path / "c.npz", described("O4", "(1,)") + evil)),
    ]
    feed = tmp_path / "d.json"
    for value in ({"polygraphy_class": "Tensor", "tensor": "gASV"}, {"array": evil.decode("latin-1")}):
        feed.write_text(json.dumps({"x": value}))
        said.append(refused(feed))
    assert not Path(mark).exists()
    trial("data: pickles", len(said), said[0])


@pytest.mark.parametrize(
    "content",
    [
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1," * 30 + "), }"),
        header("[" * 100),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4), }"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (1e99, 4), }"),
        header("__import__('os').system('true')"),
        header("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }"),
        header("{'descr': '<V4294967295', 'fortran_order': False, 'shape': (1,), }"),
        MAGIC + b"\x02\x00" + b"\xff\xff\xff\xff" + b"{" * 5000,
        MAGIC + b"\x09\x00" + b"\x00" * 100,
        b"",
        b"\x93",
    ],
    ids=range(12),
)
def test_headers_that_lie_are_refused(tmp_path, content, trial):
    trial("data: header that lies", 1, refused(archive(tmp_path / "a.npz", content)))


def test_a_header_of_gigabytes_is_not_read(tmp_path, trial):
    class Counting(io.BytesIO):
        most = 0

        def read(self, size=-1):
            self.most = max(self.most, size)
            return super().read(size)

    stream = Counting(MAGIC + b"\x02\x00" + b"\xff\xff\xff\xff" + b" " * 50_000)
    with pytest.raises(DataError, match="a header of 4294967295 bytes"):
        read_header(stream, "a.npz")
    assert stream.most <= 10_000
    trial("data: header of 4 GiB", 1, "refused unread")


def test_an_archive_larger_than_its_file_is_read_piece_by_piece(tmp_path, trial, nightly):
    mebibytes = 16 << 10 if nightly else 512
    path = bomb(tmp_path / "bomb.npz", mebibytes)
    with isolation(ProcessLimits(memory_bytes=400 << 20, stage_seconds=300.0)):
        batches = isolated(read_all, int)(str(path))
    assert batches == mebibytes >> 4
    trial(f"data: {mebibytes} MiB in {path.stat().st_size >> 10} KiB", 1, "read in batches within 400 MiB")


def test_a_batch_larger_than_the_memory_is_refused(tmp_path, trial):
    content = described("<f4", "(4611686018427387, 4)")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("x.npy", content)
    trial("data: more declared than stored", 1, refused(tmp_path / "a.npz"))


def test_names_in_an_archive_lead_nowhere(tmp_path, trial):
    stored = io.BytesIO()
    np.save(stored, np.zeros((1, 4), np.float32))
    for name in ("../../x.npy", "/etc/x.npy", "x\n.npy", ".npy", "a/../x.npy"):
        said = refused(archive(tmp_path / "a.npz", stored.getvalue(), name))
        assert not (tmp_path.parent / "x.npy").exists()
    trial("data: names that lead out of an archive", 5, said)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"x":' * 50_000,
        "1" * 10_000,
        "1e999",
        '"x"',
        "null",
        "[]",
        "[[]]",
        '{"x": 1}',
        '{"x": {"array": 1}}',
        '{"x": {"array": ""}}',
        '{"x": {"array": "AAAA"}}',
        '{"x": {"array": "\\ud800"}}',
        '{"x": {"array": {"array": "AAAA"}}}',
        "\ufeff{}",
    ],
    ids=range(15),
)
def test_json_of_any_shape_is_refused(tmp_path, text, trial):
    path = tmp_path / "a.json"
    path.write_text(text)
    trial("data: JSON of any shape", 1, refused(path))


def test_links_and_devices_are_no_data(tmp_path, trial):
    for number, target in enumerate(("/dev/zero", "/dev/full", "/proc/self/mem", str(tmp_path))):
        path = tmp_path / f"{number}.npz"
        path.symlink_to(target)
        with pytest.raises(AutocastError):
            from tasks.storage.data import fetch_data

            fetch_data(str(path))
            read_all(str(path))
    trial("data: links to devices and folders", 4, "refused")
