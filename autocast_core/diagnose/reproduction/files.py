"""Writes a reproduction to a folder, ready for an issue tracker."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir

from autocast_core.diagnose.reproduction.readme import readme
from autocast_core.diagnose.reproduction.reproduction import Reproduction
from autocast_core.diagnose.reproduction.script import script
from autocast_core.diagnose.reproduction.sub_models import Arrays
from autocast_core.errors import OutputError
from autocast_core.model import save_model
from autocast_core.model.atomic import check_plain, write_whole
from autocast_core.simulate import simulate


def write_reproduction(found: Reproduction, folder: Path) -> tuple[Path, ...]:
    """Write `found` to `folder`, which is made where it does not exist, and return the files.

    ``candidate.onnx`` and ``reference.onnx`` are the sub-models, ``candidate_simulated.onnx`` the candidate's with its
    roundings as Casts where it has 16-bit types, ``inputs.npz`` what they were fed (``candidate:NAME``,
    ``reference:NAME``), ``expected.npy`` what the reference gave where its part is not there; ``reproduce.py`` runs
    them, ``README.md`` says what is wrong. OutputError where a file cannot be written.
    """
    fault = found.fault
    shown = found.shown
    models = {"candidate.onnx": _named(fault.candidate, fault.candidate_feeds, shown.found, "candidate")}
    if fault.reference is not None:
        models["reference.onnx"] = _named(fault.reference, fault.reference_feeds, shown.expected, "reference")
    if found.is_simulated:
        models["candidate_simulated.onnx"] = simulate(models["candidate.onnx"], fault.accumulate)
    contents = {
        "inputs.npz": _npz(fault.candidate_feeds, fault.reference_feeds),
        "reproduce.py": script(
            found.title,
            found.rel_l2,
            has_reference=fault.reference is not None,
            is_simulated=found.is_simulated,
        ).encode(),
        "README.md": readme(found).encode(),
    }
    if fault.reference is None:
        contents["expected.npy"] = _npy(found.shown.expected)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot make the folder ({error.strerror}): give another") from error
    for name in (*models, *contents):
        check_plain(folder / name)
    for name, model in models.items():
        save_model(model, folder / name, external_data=False)
    for name, content in contents.items():
        write_whole(folder / name, content)
    return tuple(folder / name for name in sorted((*models, *contents)))


def _named(model: ir.Model, feeds: Arrays, result: np.ndarray, name: str) -> ir.Model:
    """A copy called `name`, its inputs with the shapes of what they are fed, its output with that of its result."""
    copy = model.clone()
    copy.graph.name = name
    for value in copy.graph.inputs:
        value.shape = ir.Shape(feeds[str(value.name)].shape)
    copy.graph.outputs[0].shape = ir.Shape(result.shape)
    return copy


def _npz(candidate: Arrays, reference: Arrays) -> bytes:
    arrays: Mapping[str, np.ndarray] = {
        **{f"candidate:{name}": array for name, array in candidate.items()},
        **{f"reference:{name}": array for name, array in reference.items()},
    }
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()
