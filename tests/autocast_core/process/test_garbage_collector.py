"""The garbage collector: what is kept for good is left alone, what comes later is collected."""

import gc
import subprocess
import sys
import weakref

from autocast_core.process.garbage_collector import collected_after

PROGRAM = """
import gc, weakref
from autocast_core.process.garbage_collector import keep_for_good

class Item: pass

def cycle():
    item = Item()
    item.itself = item
    return weakref.ref(item)

with keep_for_good():
    assert not gc.isenabled()
    before = cycle()
after = cycle()
gc.collect()
assert gc.isenabled() and gc.get_freeze_count() > 0
assert before() is not None and after() is None
"""


def test_objects_kept_for_good_stay_and_later_garbage_is_collected():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)  # it changes its process
    assert done.returncode == 0, done.stderr


def test_a_process_that_never_collects_ends_without_a_collection():
    program = (
        "import gc\n"
        "from autocast_core.process.garbage_collector import never_collect\n"
        "never_collect()\n"
        "gc.callbacks.append(lambda phase, info: print(phase, info['generation']) if phase == 'start' else None)\n"
        "kept = [[number] for number in range(300_000)]\n"
        "assert not gc.isenabled()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_the_collector_is_paused_in_the_block_and_enabled_after_it():
    import gc

    from autocast_core.process.garbage_collector import collector_paused

    with collector_paused():
        assert not gc.isenabled()
        with collector_paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


class Cycle:
    """What only the garbage collector frees."""

    def __init__(self) -> None:
        self.itself = self


def test_what_a_block_leaves_is_collected_after_it_and_what_is_older_is_not_traversed():
    old = Cycle()
    older = weakref.ref(old)
    gc.collect(0)
    del old
    with collected_after():
        left = weakref.ref(Cycle())
        assert not gc.isenabled() and left() is not None
    assert gc.isenabled() and left() is None and older() is not None


def test_where_the_collector_is_off_a_block_leaves_it_off_and_collects_nothing():
    gc.disable()
    try:
        with collected_after():
            left = weakref.ref(Cycle())
        assert not gc.isenabled() and left() is not None
    finally:
        gc.enable()
