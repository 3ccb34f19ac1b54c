"""What a hostile file may make its reader do; called in the isolated process."""

import ctypes
import logging
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from autocast_core.errors import ModelError
from autocast_core.progress import Progress
from tasks.progress import report


def square(number: int) -> int:
    return number * number


def process_id() -> int:
    return os.getpid()


def crash() -> int:
    return int(ctypes.string_at(0)[0])


def abort() -> None:
    os.abort()


def leave() -> None:
    os._exit(0)


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def allocate(size: int) -> int:
    return int(np.ones(size, np.uint8).sum())


def spin() -> None:
    while True:
        time.sleep(0.01)


def spin_with_a_child(note: str) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(note).write_text(str(child.pid))
    spin()


def write(path: str, size: int) -> int:
    with open(path, "wb") as file:
        return file.write(bytes(size))


def environment() -> dict[str, str]:
    return dict(os.environ)


def refuse() -> None:
    raise ModelError("m.onnx: a page, not a model: download it again")


def fail() -> None:
    raise ZeroDivisionError("a bug\nin a stage")


def text() -> str:
    return "not a number"


def shout() -> int:
    print("a" * 100_000)
    print("b" * 100_000, file=sys.stderr)
    logging.getLogger("autocast_core.model").warning("look at this")
    report(Progress("calibrate", 3, 3, "batches"))
    return 1


def send_slowly(times: int, seconds: float, *, callback: Callable[[tuple[int, float]], None]) -> int:
    for number in range(times):
        time.sleep(seconds)
        callback((number, math.nan))
    return times


def refuse_by_name(name: str) -> None:
    try:
        raise ValueError(f"no such option {name}")
    except ValueError as error:
        raise ModelError(f"tensor {name!r} is not there: export it again") from error


def native_want(words: str) -> None:
    try:
        raise RuntimeError(words)
    except RuntimeError as error:
        raise ModelError("the runtime fails: give less") from error
