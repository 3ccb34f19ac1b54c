"""An interrupt takes effect wherever it arrives."""

import subprocess
import sys

import pytest

SWALLOWED = """
import signal, time, weakref
from flows.cli.terminal.interrupts import heed_interrupts

class Thing:
    pass

heed_interrupts()
signal.signal(signal.SIGINT, signal.default_int_handler)
thing = Thing()
reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.{name}))
try:
    del thing
    time.sleep(10)
    print("lost")
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupt_that_a_callback_swallows_is_raised_again(name):
    done = subprocess.run([sys.executable, "-c", SWALLOWED.format(name=name)], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("interrupted\n", "")


def test_what_else_a_callback_raises_is_told_as_before():
    program = (
        SWALLOWED.format(name="SIGINT").replace("signal.raise_signal(signal.SIGINT)", "1 / 0").replace("(10)", "(0)")
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "lost\n" and "ZeroDivisionError" in done.stderr
