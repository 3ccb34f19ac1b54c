"""Seldom looking for garbage: what lasts is left alone, what comes later is still looked at."""

import subprocess
import sys

PROGRAM = """
import gc, weakref
from flows.local.garbage_collector import lasting

class Item: pass

def cycle():
    item = Item()
    item.itself = item
    return weakref.ref(item)

with lasting():
    assert not gc.isenabled()
    before = cycle()
after = cycle()
gc.collect()
assert gc.isenabled() and gc.get_freeze_count() > 0
assert before() is not None and after() is None
"""


def test_what_is_made_within_stays_and_garbage_made_later_is_collected():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)  # it changes its process
    assert done.returncode == 0, done.stderr
