"""Reading .npz files and folders of them: lazily, and never unpickling."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from autocast_core.data import InputSpec, open_batches
from autocast_core.errors import DataError

X = [InputSpec("x", ir.DataType.FLOAT, ("N", 3))]


def saved(path: Path, rows: int = 2, start: float = 0.0) -> Path:
    np.savez(path, x=np.arange(rows * 3, dtype=np.float32).reshape(rows, 3) + np.float32(start))
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_come_one_batch_at_a_time(tmp_path: Path, save: object, order: str) -> None:
    values = np.random.default_rng(0).random((5, 3), np.float32)
    save(tmp_path / "x.npz", x=np.array(values, order=order))  # type: ignore[operator]
    batches = list(open_batches(tmp_path / "x.npz", X, batch_size=2))
    assert [len(batch["x"]) for batch in batches] == [2, 2, 1]
    assert np.array_equal(np.concatenate([batch["x"] for batch in batches]), values)


def test_only_one_batch_is_in_memory(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.ones((64, 3, 50_000), np.float32))
    inputs = [InputSpec("x", ir.DataType.FLOAT, ("N", 3, 50_000))]
    tracemalloc.start()
    for batch in open_batches(tmp_path / "x.npz", inputs):
        assert batch["x"].shape == (1, 3, 50_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * batch["x"].nbytes


def test_a_folder_is_read_in_name_order(tmp_path: Path) -> None:
    saved(tmp_path / "b.npz", start=100.0)
    saved(tmp_path / "a.npz")
    (tmp_path / "readme.txt").write_text("not data")
    assert [batch["x"][0, 0] for batch in open_batches(tmp_path, X)] == [0.0, 3.0, 100.0, 103.0]


def test_digests_are_those_of_files(tmp_path: Path) -> None:
    a, b = saved(tmp_path / "a.npz"), saved(tmp_path / "b.npz", start=1.0)
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (a, b)}
    assert open_batches(a, X).digest == digests["a.npz"]
    canonical = json.dumps(digests, sort_keys=True, separators=(",", ":")).encode()
    assert open_batches(tmp_path, X).digest == hashlib.sha256(canonical).hexdigest()


def test_labels_of_a_folder_follow_its_order(tmp_path: Path) -> None:
    np.savez(tmp_path / "b.npz", x=np.zeros((1, 3), np.float32), labels=np.array([9]))
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 3), np.float32), labels=np.array([1, 2]))
    assert open_batches(tmp_path, X).labels.tolist() == [1, 2, 9]


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        for _ in open_batches(path, X):
            pass
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    assert "no .npz file in the folder" in refusal(tmp_path)


def test_a_page_instead_of_an_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_text("<html>")
    assert "not a complete .npz archive" in refusal(tmp_path / "x.npz")


def test_an_array_without_a_name_is_refused_and_it_is_said_how_to_name_it(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones(3, np.float32))
    assert refusal(tmp_path / "x.npy").endswith(": numpy.savez('x.npz', INPUT=numpy.load('x.npy'))")


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.npz", rows=100)
    path.write_bytes(path.read_bytes()[:-300])
    assert "not a complete .npz archive" in refusal(path)


def test_a_damaged_member_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.npz", rows=100)
    content = bytearray(path.read_bytes())
    content[400] ^= 0xFF
    path.write_bytes(content)
    assert "damaged" in refusal(path)


def test_pickled_content_is_never_loaded(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    np.savez(tmp_path / "x.npz", x=np.array([Trap()], dtype=object))
    assert "pickled Python objects, which are never loaded" in refusal(tmp_path / "x.npz")
    assert not (tmp_path / "sprung").exists()


def test_a_member_that_declares_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    header = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 3), }"
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", header.ljust(127) + b"\n" + bytes(24))
    assert "declares 12000000000128 bytes, the archive 152" in refusal(tmp_path / "x.npz")


@pytest.mark.parametrize(
    "header", [b"", b"\x93NUMPY\x01\x00", b"\x93NUMPY\x09\x00v\x00{}", b"\x93NUMPY\x01\x00\x04\x00[[[["]
)
def test_a_member_without_a_header_is_refused(tmp_path: Path, header: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", header)
    assert "not a .npy array" in refusal(tmp_path / "x.npz")


def test_labels_larger_than_the_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros((1, 3), np.float32), labels=np.zeros(1_000_000, np.int64))
    monkeypatch.setattr("autocast_core.data.batches.available_bytes", lambda: 1_000_000)
    assert "one batch takes" in refusal(tmp_path / "x.npz")


def test_samples_without_a_value_are_refused_however_many_a_header_declares(tmp_path):
    path = tmp_path / "endless.npz"
    header = np.lib.format.header_data_from_array_1_0(np.empty((2, 0), np.float32)) | {"shape": (2**50, 0)}
    with zipfile.ZipFile(path, "w") as archive, archive.open("x.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, header)
    with pytest.raises(DataError, match=f"'x' has {2**50} samples without a value"):
        open_batches(path, [InputSpec("x", ir.DataType.FLOAT, ("N", "M"))])
