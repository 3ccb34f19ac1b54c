"""The text of reproduce.py, which needs onnxruntime and numpy alone."""

from __future__ import annotations

import re
from string import Template

_TEXT = Template('''"""$title

Shows what candidate.onnx should give and what it gives, on the inputs in inputs.npz. Needs onnxruntime and numpy.

    python reproduce.py                                # exit code 0 where the fault shows
    python reproduce.py --as-is CUDAExecutionProvider  # candidate.onnx itself, in a provider that computes in its types
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime

HERE = Path(__file__).parent
RECORDED = $recorded  # relative L2 error, where it was found


def run(name, provider="CPUExecutionProvider"):
    """The first output of a model on the inputs that were recorded for it, without graph optimisation."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(HERE / name), options, providers=[provider])
    types = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
    side = "reference" if name.startswith("reference") else "candidate"
    with np.load(HERE / "inputs.npz") as recorded:
        arrays = {item.name: recorded[f"{side}:{item.name}"] for item in session.get_inputs()}
    feeds = {item.name: arrays[item.name].astype(types.get(item.type, arrays[item.name].dtype), copy=False)
             for item in session.get_inputs()}
    return session.run(None, feeds)[0]


def main():
    expected = $expected
    name, provider = "$candidate", "CPUExecutionProvider"
    if "--as-is" in sys.argv:
        name, provider = "candidate.onnx", sys.argv[sys.argv.index("--as-is") + 1]
    actual = run(name, provider)
    if expected.size != actual.size:
        print(f"{name}: expected shape {expected.shape}, actual {actual.shape}")
        return 0
    left, right = expected.reshape(-1).astype(np.float64), actual.reshape(-1).astype(np.float64)
    known = np.isfinite(left)
    ruined = int(np.count_nonzero(known & ~np.isfinite(right)))
    both = known & np.isfinite(right)
    with np.errstate(all="ignore"):
        error = np.where(both, np.abs(left - right), np.where(known, np.inf, 0.0))
        relative = np.sqrt(np.sum(error[both] ** 2) / np.sum(left[both] ** 2)) if both.any() else 0.0
    print(f"{name} in {provider}: relative L2 error {relative:.3g}, {ruined} of {left.size} elements not finite")
    print(f"{'element':>10} {'expected':>16} {'actual':>16}")
    for place in np.argsort(-error, kind="stable")[:8]:
        print(f"{int(place):>10} {left[place]:>16.8g} {right[place]:>16.8g}")
    shown = ruined > 0 or relative >= RECORDED / 2
    print("the fault shows" if shown else "the fault does not show here")
    return 0 if shown else 1


if __name__ == "__main__":
    sys.exit(main())
''')


def script(title: str, recorded: float, *, has_reference: bool, is_simulated: bool) -> str:
    """The script of a reproduction: `recorded` is its relative L2 error. Of `title`, which names nodes of anyone's
    model, only what is harmless in a docstring is written."""
    return _TEXT.substitute(
        title=re.sub(r"[^\w ./:()\[\]-]", "?", title),
        recorded=repr(recorded) if recorded < float("inf") else "1.0",
        expected='run("reference.onnx")' if has_reference else 'np.load(HERE / "expected.npy")',
        candidate="candidate_simulated.onnx" if is_simulated else "candidate.onnx",
    )
