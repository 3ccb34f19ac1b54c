"""Calibration files made to crash, fill or take over whoever reads them; each is written into a folder."""

import io
import json
import os
import pickle
import zipfile

import numpy as np

MAGIC = b"\x93NUMPY"


class Opened:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (os.mkdir, (self.mark,))


def header(text, length=None):
    body = text.encode().ljust(117) + b"\n"
    return MAGIC + b"\x01\x00" + (length or len(body)).to_bytes(2, "little") + body


def described(dtype, shape):
    return header(f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}")


def archive(path, content, name="x.npy", method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr(name, content)
    return path


def bomb(path, mebibytes):
    """Zeros, a thousandth of their size when compressed."""
    rows = mebibytes << 16
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open("x.npy", "w", force_zip64=True) as member:
        member.write(described("<f4", f"({rows}, 4)"))
        block = bytes(1 << 24)
        for _ in range(mebibytes >> 4):
            member.write(block)
    return path


def _pickle(folder):
    evil = pickle.dumps(np.array([Opened(str(folder / "opened"))], dtype=object))
    return archive(folder / "d.npz", described("|O", "(1,)") + evil)


def _bare_pickle(folder):
    path = folder / "d.npz"
    path.write_bytes(pickle.dumps(Opened(str(folder / "opened"))))
    return path


def _pickle_in_a_folder(folder):
    (folder / "data").mkdir()
    return _pickle(folder / "data").parent


def _header_of_gigabytes(folder):
    return archive(folder / "d.npz", MAGIC + b"\x02\x00" + b"\xff\xff\xff\xff" + b"{" * 5000)


def _shape_of_exabytes(folder):
    return archive(folder / "d.npz", described("<f4", "(4611686018427387, 4)"))


def _wide_bomb(folder):
    """One row of half a gigabyte in half a megabyte, where the model takes four columns."""
    path = folder / "d.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open("x.npy", "w", force_zip64=True) as member:
        member.write(described("<f4", f"(1, {1 << 27})"))
        block = bytes(1 << 24)
        for _ in range(32):
            member.write(block)
    return path


def _many_members(folder):
    path = folder / "d.npz"
    with zipfile.ZipFile(path, "w") as file:
        for number in range(30_000):
            file.writestr(f"x{number}.npy", b"")
    return path


def _nested_json(folder):
    path = folder / "d.json"
    path.write_text("[" * 100_000)
    return path


def _json_of_another_shape(folder):
    path = folder / "d.json"
    path.write_text(json.dumps([{"x": {"polygraphy_class": "Tensor", "tensor": "gASV"}}]))
    return path


def _fifo(folder):
    os.mkfifo(folder / "d.npz")
    return folder / "d.npz"


def _device(folder):
    (folder / "d.npz").symlink_to("/dev/zero")
    return folder / "d.npz"


def _memory(folder):
    (folder / "d.json").symlink_to("/proc/self/mem")
    return folder / "d.json"


def _device_in_a_folder(folder):
    (folder / "data").mkdir()
    stored = io.BytesIO()
    np.savez(stored, x=np.zeros((1, 4), "f4"))
    (folder / "data" / "a.npz").write_bytes(stored.getvalue())
    (folder / "data" / "b.npz").symlink_to("/dev/zero")
    (folder / "data" / "c.txt").write_text("passed over")
    (folder / "data" / "d.npz").symlink_to("/etc/hostname")
    return folder / "data"


FILES = {
    write.__name__.strip("_"): write
    for write in (
        _pickle,
        _bare_pickle,
        _pickle_in_a_folder,
        _header_of_gigabytes,
        _shape_of_exabytes,
        _wide_bomb,
        _many_members,
        _nested_json,
        _json_of_another_shape,
        _fifo,
        _device,
        _memory,
        _device_in_a_folder,
    )
}
