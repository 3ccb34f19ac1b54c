import subprocess
import sys

SCRIPT = """
import sys
from autocast_core.process.lazy_imports import load_when_used
load_when_used("colorsys", "no_such_module")
import colorsys
known = type(colorsys).__name__
try:
    import no_such_module
except ModuleNotFoundError:
    known += " and the other is missing"
print(known, colorsys.rgb_to_hsv(1, 0, 0), type(colorsys).__name__)
"""


def test_a_module_is_loaded_when_an_attribute_is_first_used():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "_LazyModule and the other is missing (0.0, 1.0, 1) module"
