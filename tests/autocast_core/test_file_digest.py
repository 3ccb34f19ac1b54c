"""Digests of files."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from autocast_core.data import open_batches
from autocast_core.errors import InputError
from autocast_core.file_digest import file_digest, files_digest


def test_the_digest_of_one_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert file_digest(tmp_path / "a") == files_digest(tmp_path, [tmp_path / "a"]) == hashlib.sha256(b"abc").hexdigest()


def test_the_digest_of_several_files_is_that_of_their_digests_as_canonical_json(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b").write_bytes(b"")
    (tmp_path / "a").write_bytes(b"abc")
    digests = (hashlib.sha256(b"abc").hexdigest(), hashlib.sha256(b"").hexdigest())
    text = '{{"a":"{}","sub/b":"{}"}}'.format(*digests)
    files = [tmp_path / "sub" / "b", tmp_path / "a"]
    assert files_digest(tmp_path, files) == hashlib.sha256(text.encode()).hexdigest()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none: cannot be read"):
        file_digest(tmp_path / "none")


def test_a_folder_of_data_has_the_digest_of_its_files_whatever_their_names(tmp_path: Path) -> None:
    for name in ("a.npz", "données.npz"):
        np.savez(tmp_path / name, x=np.zeros(2, np.float32))
    assert open_batches(tmp_path, ()).digest == files_digest(tmp_path, sorted(tmp_path.iterdir()))
